"""A scorer on labelled samples: is its confidence true, what does abstaining buy, where is it confidently wrong."""

from __future__ import annotations

from collections import Counter
from html import escape

import numpy as np
from numpy.typing import NDArray

from invent_chain.calibrate import Certificate, Uncertifiable, cross_fitted_confidence
from invent_chain.errors import InputError
from invent_chain.evaluate import Scored, metrics
from invent_chain.protocols import FloatArray
from invent_chain.report.page import page, table, tiles
from invent_chain.report.plot import bars, dots, label, line, plot

_BINS = 10
_WORST = 10


def samples_page(scored: Scored, outcome: Certificate | Uncertifiable | None = None) -> str:
    """Return a page about scores and labels of the same answers; it quotes questions and answers.

    Args:
        scored: What `score_samples` returned.
        outcome: What `certify` returned for them: the certified point goes into the risk-coverage curve.

    Raises:
        InputError: The answers are all right or all wrong, or too few for a confidence map.
    """
    uncertainty, right = scored.uncertainty, scored.right
    if right.all() or not right.any():
        raise InputError(f"all {len(right)} answers are {'right' if right.all() else 'wrong'}: nothing to tell apart")
    interval = metrics.bootstrap(metrics.auroc, uncertainty, right, rng=np.random.default_rng(0), draws=1000)
    confidence = cross_fitted_confidence(uncertainty, right)
    answers = [1 + len(s.replications) + sum(len(x.answers) for x in s.siblings) for s in scored.samples]
    settings = scored.fingerprint
    return page(
        f"Uncertainty of {settings.model}",
        f"<h1>Uncertainty of {escape(settings.model)}</h1>",
        f'<p class="soft">score: {escape(settings.score)}; {settings.n} siblings, {settings.r} answers to each, '
        f"{settings.replications} to the question; temperature {settings.temperature}; "
        f"{escape(settings.similarity)}</p>",
        tiles(
            [
                ("questions", str(len(right))),
                ("right", f"{right.mean():.0%}"),
                (f"AUROC, 95 % {interval.low:.2f} to {interval.high:.2f}", f"{metrics.auroc(uncertainty, right):.3f}"),
                ("AURC, lower is better", f"{metrics.aurc(uncertainty, right):.3f}"),
                ("Brier, isotonic out of fold", f"{metrics.brier(confidence, right):.3f}"),
                ("answers sampled a question", f"{np.median(answers):.0f}"),
            ]
        ),
        '<div class="side">',
        _reliability(confidence, right),
        _risk_coverage(uncertainty, right, outcome),
        _distributions(uncertainty, right),
        "</div>",
        f"<p>{escape(str(outcome))}</p>" if isinstance(outcome, Uncertifiable) else "",
        "<h2>The most confident errors</h2>",
        _worst(scored),
    )


def _reliability(confidence: FloatArray, right: NDArray[np.bool_]) -> str:
    bin_of = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    points = [
        (float(confidence[inside].mean()), float(right[inside].mean()), f"{inside.sum()} answers")
        for k in range(_BINS)
        if (inside := bin_of == k).any()
    ]
    return plot(
        line([(0, 0), (1, 1)], "line", dashed=True),
        line([(x, y) for x, y, _ in points]),
        dots(points),
        x="P(right), fitted out of fold",
        y="share that is right",
        caption="Reliability: on the dashed line confidence is true.",
    )


def _risk_coverage(
    uncertainty: FloatArray, right: NDArray[np.bool_], outcome: Certificate | Uncertifiable | None
) -> str:
    curve = metrics.risk_coverage(uncertainty, right)
    marks = [line(list(zip(curve.coverage.tolist(), curve.risk.tolist(), strict=True)), "wrong")]
    caption = "Risk and coverage: the share of wrong answers among those that are given, least uncertain first."
    if isinstance(outcome, Certificate):
        share = outcome.wrong / outcome.accepted
        text = f"certified: uncertainty <= {outcome.threshold:.2f}, risk <= {outcome.risk:g}"
        marks += [
            line([(0, outcome.risk), (1, outcome.risk)], "soft", dashed=True),
            dots([(outcome.coverage, share, text)], "right"),
            label(outcome.coverage, max(share - 0.08, 0.02), text),
        ]
    return plot(*marks, x="coverage", y="risk", caption=caption)


def _distributions(uncertainty: FloatArray, right: NDArray[np.bool_]) -> str:
    shares = [np.histogram(uncertainty[one], bins=_BINS, range=(0, 1))[0] / one.sum() for one in (right, ~right)]
    return plot(
        bars(shares[0].tolist(), "right", offset=0.0),
        bars(shares[1].tolist(), "wrong", offset=0.5),
        x="uncertainty",
        y="share of its kind",
        caption="Scores of right answers (blue, left bar of each pair) and of wrong ones (orange, right bar).",
    )


def _worst(scored: Scored) -> str:
    wrong = np.flatnonzero(~scored.right)
    worst = wrong[np.argsort(scored.uncertainty[wrong], kind="stable")][:_WORST]
    return table(("question", "answer", "accepted", "siblings", "#uncertainty"), (_error(scored, k) for k in worst))


def _error(scored: Scored, k: int) -> tuple[str, ...]:
    samples = scored.samples[k]
    others = "".join(
        f"<p>{escape(s.text)}<br><span class='soft'>{escape(Counter(s.answers).most_common(1)[0][0])}</span></p>"
        for s in samples.siblings
        if s.answers
    )
    return (
        escape(samples.question),
        f'<span class="wrong">{escape(samples.answer)}</span>',
        escape(" or ".join(samples.gold)),
        f"<details><summary>{len(samples.siblings)}</summary>{others}</details>",
        f"{scored.uncertainty[k]:.2f}",
    )
