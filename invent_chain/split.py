"""Tell the uncertainty of retrieval from that of generation, by asking half of the siblings with the same documents."""

from __future__ import annotations

from dataclasses import replace

from invent_chain.pipeline import InvEntropy
from invent_chain.types import Status, UncertaintyReport


def halves(scorer: InvEntropy) -> tuple[InvEntropy, InvEntropy]:
    """Return scorers that share the replications of one: for siblings that retrieve again, and that do not."""
    kept = max(1, scorer.fingerprint.r // 2)
    rest = max(1, scorer.fingerprint.r - kept)
    # A calibration was made for all replications together.
    return scorer.replace(r=rest, calibration=None), scorer.replace(r=kept, calibration=None)


def joined(whole: UncertaintyReport, kept: UncertaintyReport) -> UncertaintyReport:
    """Join the report over new retrievals with the one over the same documents.

    Its measures also hold `generation`, the uncertainty that is left with the documents kept, and `retrieval`, what
    retrieving again adds; both in [0, 1], higher = more uncertain.
    """
    both = replace(whole, usage=replace(whole.usage + kept.usage, seconds=max(whole.usage.seconds, kept.usage.seconds)))
    if "failed" in (whole.status, kept.status):
        problem = "retrieval and generation could not be told apart: one of the two halves was not scored"
        status: Status = "failed" if whole.status == "failed" else "degraded"
        return replace(both, status=status, problems=(*whole.problems, *kept.problems, problem))
    parts = {"generation": kept.score, "retrieval": max(0.0, whole.score - kept.score)}
    status = "ok" if whole.status == kept.status == "ok" else "degraded"
    return replace(
        both, measures={**whole.measures, **parts}, status=status, problems=(*whole.problems, *kept.problems)
    )
