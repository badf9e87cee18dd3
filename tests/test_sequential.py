"""The sequential test: what it promises under repeated looks, and what it needs."""

import numpy as np
import pytest
from scipy.stats import betabinom, hypergeom

from invent_chain.errors import ConfigurationError
from invent_chain.sequential import SequentialTest, expected_share

FOUR = [int(np.searchsorted([0.25, 0.5, 0.75], 1 - k / 49)) for k in range(50)]
TWO = [int(k >= 35) for k in range(50)]


def stopped(decisions, truth, rng, *, error=0.05, guarantee="each", least=1):
    """Draw answers one by one without replacement until the test stops; return the decision and how many it took."""
    total = len(decisions) - 1
    answers = rng.permutation(np.arange(total) < truth)
    test, asked = SequentialTest(decisions, error=error, guarantee=guarantee), 0
    while asked < total:
        asked = min(total, asked + least)
        if test.look(int(answers[:asked].sum()), asked):
            break
    agree = int(answers[:asked].sum())
    return decisions[round(expected_share(agree, asked, total) * total)], asked


@pytest.mark.parametrize("truth", [24, 34, 35, 36, 37, 12])
@pytest.mark.parametrize("decisions", [FOUR, TWO])
def test_each_question_is_decided_wrongly_with_at_most_the_given_probability(truth, decisions):
    rng = np.random.default_rng(truth)
    wrong = 0
    for _ in range(200):
        total, answers = 49, rng.permutation(np.arange(49) < truth)
        test = SequentialTest(decisions, error=0.1)
        for asked in range(1, total + 1):
            if test.look(int(answers[:asked].sum()), asked):
                break
        possible = {decisions[k] for k in range(50) if test._alive[k]}
        wrong += possible != {decisions[truth]} and asked < total
    assert wrong <= 200 * 0.1 + 3 * np.sqrt(200 * 0.1 * 0.9)


def test_on_average_the_error_is_kept_over_shares_spread_like_the_prior():
    rng = np.random.default_rng(1)
    truths = betabinom(49, 0.5, 0.5).rvs(600, random_state=rng)
    found = [stopped(FOUR, truth, rng, guarantee="average", error=0.1) for truth in truths]
    wrong = np.mean([decision != FOUR[truth] for (decision, _), truth in zip(found, truths, strict=True)])
    assert wrong <= 0.1 + 3 * np.sqrt(0.09 / 600)
    each = [stopped(FOUR, truth, rng, guarantee="each", error=0.1) for truth in truths]
    assert np.mean([n for _, n in found]) < np.mean([n for _, n in each])


def test_the_bound_is_the_ratio_of_prior_and_posterior():
    """Against scipy's distributions: the set after one look, in closed form."""
    test = SequentialTest(list(range(50)), error=0.05)
    test.look(8, 10)
    marginal = betabinom(10, 0.5, 0.5).pmf(8)
    expected = [hypergeom(49, k, 10).pmf(8) / marginal > 0.05 for k in range(50)]
    assert test._alive.tolist() == expected


def test_the_posterior_sums_to_one_and_settles_where_it_says():
    test = SequentialTest([0] * 25 + [1] * 25, error=0.05, guarantee="average")
    chances = np.exp(test._log_posterior(np.array([9]), np.array([10])))[0]
    counts = np.arange(50)
    expected = np.where((counts >= 9) & (counts <= 48), betabinom(39, 9.5, 1.5).pmf(counts - 9), 0.0)
    inside = np.where((counts >= 9) & (counts <= 48), chances, 0.0)
    np.testing.assert_allclose(inside, expected, atol=1e-12)
    assert test.look(9, 10) == (expected[25:].sum() >= 0.95)


@pytest.mark.parametrize("guarantee", ["each", "average"])
def test_fewest_is_what_unanimous_answers_take(guarantee):
    for favour in (True, False):
        test, asked = SequentialTest(FOUR, error=0.05, guarantee=guarantee), 0
        first = test.fewest(0, 0)
        while not test.look(asked if favour else 0, asked):
            asked += 1
        assert asked >= first
    assert 5 <= first <= 25


def test_one_decision_for_every_share_is_settled_at_once():
    assert SequentialTest(["abstain"] * 50, error=0.05).look(0, 0)


def test_everything_asked_is_always_settled():
    for agree in (0, 20, 37, 49):
        assert SequentialTest(list(range(50)), error=0.05).look(agree, 49)


def test_the_expected_share_is_exact_at_the_end_and_in_the_middle_at_the_start():
    assert expected_share(20, 49, 49) == 20 / 49
    assert expected_share(0, 0, 49) == 0.5
    assert 0.9 < expected_share(12, 12, 49) < 1.0
    shares = [expected_share(k, 12, 49) for k in range(13)]
    assert shares == sorted(shares)


@pytest.mark.parametrize(("settings", "says"), [({"error": 0.0}, "error=0.0"), ({"error": 1}, "error=1")])
def test_bad_settings(settings, says):
    with pytest.raises(ConfigurationError, match=says):
        SequentialTest([0, 1], **settings)
    with pytest.raises(ConfigurationError, match="guarantee='some'"):
        SequentialTest([0, 1], error=0.1, guarantee="some")
