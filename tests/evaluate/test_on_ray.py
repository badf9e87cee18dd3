"""On a real local Ray cluster of two workers: the same results as on one machine, and a run that goes on."""

import hashlib

import numpy as np
import pytest

from invent_chain import InvEntropy
from invent_chain.errors import ConfigurationError
from invent_chain.evaluate import Cluster, Collector, Question, SampleStore, collect_on_ray, score_on_ray, score_samples

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
QUESTIONS = [Question(f"q{k}", f"What is the capital of country {k}?", (f"city{k}",)) for k in range(11)]
SETTINGS = {"n": 2, "r": 2, "replications": 3, "perturber": "gaap"}


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield Cluster(workers=2, cpus=0.5)
    ray.shutdown()


def make_ask():
    """A model whose answer depends on the question alone, so that two runs can be compared."""

    def answer(question):
        if "country 7" in question:
            raise RuntimeError("this one fails")
        return f"city{int(hashlib.sha256(question.encode()).hexdigest(), 16) % 3}"

    return answer


def make_scorer():
    return InvEntropy(n=2, r=2, replications=4, mode="screen")


def by_id(store):
    return {samples.id: samples for samples in store}


def test_the_cluster_gives_what_one_machine_gives(cluster, tmp_path):
    here, there = SampleStore(tmp_path / "here.jsonl"), SampleStore(tmp_path / "there.jsonl")
    local = Collector(make_ask(), here, **SETTINGS).run(QUESTIONS)
    seen = []
    first = collect_on_ray(make_ask, QUESTIONS[:4], there, cluster=cluster, **SETTINGS)
    rest = collect_on_ray(
        make_ask, QUESTIONS, there, cluster=cluster, progress=lambda *done: seen.append(done), **SETTINGS
    )
    assert (first.stored, rest.stored, rest.skipped) == (4, 6, 4)
    assert rest.failed.keys() == local.failed.keys() == {"q7"}
    assert "this one fails" in rest.failed["q7"]
    assert by_id(here) == by_id(there)
    assert first.requests + rest.requests == local.requests
    assert seen == [(k, 11) for k in range(5, 12)]
    again = collect_on_ray(make_ask, [QUESTIONS[0]], there, cluster=cluster, **SETTINGS)
    assert (again.stored, again.skipped, again.requests) == (0, 1, 0)

    one = score_samples(here, make_scorer())
    many = score_on_ray(here, make_scorer, cluster=cluster)
    np.testing.assert_array_equal(one.uncertainty, many.uncertainty)
    np.testing.assert_array_equal(one.asked, many.asked)
    assert one.fingerprint == many.fingerprint


def test_bad_settings(tmp_path):
    with pytest.raises(ConfigurationError, match="workers=0"):
        Cluster(workers=0)
    with pytest.raises(ConfigurationError, match="cpus=0"):
        Cluster(cpus=0)
    with pytest.raises(ConfigurationError, match="n=-1"):
        collect_on_ray(make_ask, QUESTIONS, SampleStore(tmp_path / "s.jsonl"), cluster=Cluster(), n=-1)
