"""The commands on question files and samples: `evaluate`, `calibrate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from invent_chain.calibrate import Calibration, Cascade, Certificate, Uncertifiable, certify_cascade
from invent_chain.cli.view import plain
from invent_chain.errors import InputError
from invent_chain.evaluate import (
    Cluster,
    Collected,
    Collector,
    SampleStore,
    Scored,
    collect_on_ray,
    metrics,
    read_questions,
    score_on_ray,
    score_samples,
)
from invent_chain.evaluate.scored import contains_accepted
from invent_chain.measures import as_uncertainty
from invent_chain.pipeline import InvEntropy

_DRAWS = 1000


def collect(
    ask: Any,
    make_ask: Callable[[], Any],
    questions: Path,
    samples: Path,
    *,
    make_similarity: Callable[[], Any],
    cluster: Cluster | None,
    console: Console,
    **settings: Any,
) -> Collected:
    """Sample what is not stored yet, under a progress bar: here, or on a cluster."""
    rows, store = read_questions(questions), SampleStore(samples)
    columns = (TextColumn("sampling"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(rows))

        def progress(done: int, _total: int) -> None:
            bar.update(task, completed=done)

        if cluster is None:
            return Collector(ask, store, similarity=make_similarity(), **settings).run(rows, progress=progress)
        return collect_on_ray(
            make_ask, rows, store, cluster=cluster, make_similarity=make_similarity, progress=progress, **settings
        )


def scored(samples: Path, make_scorer: Callable[[], InvEntropy], cluster: Cluster | None = None) -> Scored:
    """Score the stored samples with the scorer's settings: here, or on a cluster."""
    if cluster is None:
        return score_samples(SampleStore(samples), make_scorer())
    return score_on_ray(SampleStore(samples), make_scorer, cluster=cluster)


def show_collected(console: Console, collected: Collected) -> None:
    """Say what a run did, and which questions it could not sample."""
    console.print(
        f"{collected.stored} questions sampled, {collected.skipped} were there, {len(collected.failed)} failed; "
        f"{collected.requests} requests",
        highlight=False,
    )
    for name, reason in list(collected.failed.items())[:5]:
        console.print(f"failed      {plain(name)}: {plain(reason)}", highlight=False)


def show_metrics(console: Console, scores: Scored) -> None:
    """Print how well the score and each measure tell wrong answers from right ones."""
    right = scores.right
    console.print(f"{len(right)} questions, {right.mean():.0%} right, model {plain(scores.fingerprint.model)}")
    if scores.fingerprint.mode != "fixed":
        share = float(np.median(scores.asked)) / scores.asked.max()
        console.print(f"mode {scores.fingerprint.mode}: half of the questions take at most {share:.0%} of the answers")
    if right.all() or not right.any():
        console.print("Nothing to tell apart: the answers are all right, or all wrong.")
        return
    table = Table("measure", "AUROC [95 %]", "PRR", "AURC", "accuracy at 50 %")
    rows = {f"score ({scores.fingerprint.score})": scores.uncertainty}
    rows |= {name: as_uncertainty(name, values) for name, values in scores.measures.items()}
    for name, values in rows.items():
        interval = metrics.bootstrap(metrics.auroc, values, right, rng=np.random.default_rng(0), draws=_DRAWS)
        numbers = (
            metrics.prr(values, right),
            metrics.aurc(values, right),
            metrics.accuracy_at_coverage(values, right, coverage=0.5),
        )
        table.add_row(name, str(interval), *(f"{number:.3f}" for number in numbers))
    console.print(table)


def show_calibration(console: Console, calibration: Calibration, outcome: Certificate | Uncertifiable | None) -> None:
    """Print what was learned."""
    fitted = calibration.confidence_map
    console.print(
        f"{calibration.labels} labels, {calibration.right} right; {fitted.kind} map to P(right), "
        f"cross-fitted Brier score {fitted.brier:.3f}",
        highlight=False,
    )
    if isinstance(outcome, Certificate):
        console.print(
            f"certified   answers with an uncertainty of at most {outcome.threshold:.2f} are wrong with probability at "
            f"most {outcome.risk:g}, at confidence {outcome.confidence:g}; {outcome.coverage:.0%} of the answers are "
            f"below it ({outcome.wrong} of {outcome.accepted} tested ones wrong)",
            highlight=False,
        )
    elif outcome is not None:
        console.print(str(outcome), highlight=False)


def cascade(scores: Scored, fallback: Path, *, risk: float, confidence: float) -> Cascade | Uncertifiable:
    """Certify a cascade to the model whose samples are in `fallback`.

    Raises:
        InputError: It has no answer to some of the questions.
    """
    strong = {samples.id: contains_accepted(samples) for samples in SampleStore(fallback)}
    missing = [samples.id for samples in scores.samples if samples.id not in strong]
    if missing:
        raise InputError(
            f"{fallback} lacks {len(missing)} of the questions, such as {missing[0]!r}: sample them there too"
        )
    strong_right = np.array([strong[samples.id] for samples in scores.samples])
    return certify_cascade(scores.uncertainty, scores.right, strong_right, risk=risk, confidence=confidence)


def show_cascade(console: Console, found: Cascade | Uncertifiable) -> None:
    """Print which share goes to the stronger model."""
    if isinstance(found, Uncertifiable):
        console.print(f"cascade     {found}", highlight=False)
        return
    bound = "every question" if found.threshold is None else f"what is above {found.threshold:.2f}"
    console.print(
        f"cascade     {bound} goes to the stronger model ({found.escalated:.0%} of the questions): together they are "
        f"wrong with probability at most {found.risk:g}, at confidence {found.confidence:g} "
        f"({found.wrong} of {found.labels} wrong)",
        highlight=False,
    )
