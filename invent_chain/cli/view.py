"""What people look at in a terminal: progress, then the answer, then the siblings, the score and the decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from invent_chain.cli.doctor import Finding
from invent_chain.progress import Progress
from invent_chain.types import Perturbed, Sibling, UncertaintyReport

_STAGES = {
    "answer": "answered",
    "perturb": "making siblings",
    "ask": "asking siblings",
    "compare": "comparing answers",
}
_ANSWERS_SHOWN = 3
_COLOURS = {"answer": "green", "retrieve_more": "yellow", "fallback": "yellow", "abstain": "red"}


def plain(text: str) -> str:
    """Make text from a model safe to print: markup shown as it is, control characters dropped, one line."""
    return escape("".join(c for c in " ".join(text.split()) if c.isprintable()))


class Live:
    """Shows the primary answer as soon as it is there, and how many siblings have answered."""

    def __init__(self, progress_console: Console, answer_console: Console, *, quiet: bool) -> None:
        self._quiet = quiet
        self._answer_console = answer_console
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=progress_console,
            transient=True,
            disable=quiet or not progress_console.is_terminal,
        )
        self._task = self._bar.add_task("asking", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show one step."""
        if progress.stage == "answer" and not self._quiet:
            self._answer_console.print(Panel(plain(progress.answer), title="answer", title_align="left"))
        self._bar.update(
            self._task,
            description=_STAGES[progress.stage],
            completed=progress.done,
            total=progress.total or None,
        )


def show_report(console: Console, report: UncertaintyReport) -> None:
    """Print the siblings, the score and the decision; the answer was shown by `Live`."""
    table = Table("sibling", "answers", "close", "agrees", title=plain(report.question), title_justify="left")
    for sibling in report.siblings:
        style = "red" if sibling.disagrees else None
        table.add_row(
            plain(sibling.question) if sibling.operator != "original" else "[italic](the question itself)[/]",
            _answers(sibling),
            _number(sibling.similarity),
            _number(sibling.agreement),
            style=style,
        )
    console.print(table)
    colour = _COLOURS[report.decision.action]
    console.print(f"uncertainty [bold]{report.score:.2f}[/] (0 certain, 1 uncertain)   status {report.status}")
    if report.measures:
        named = "  ".join(f"{name} {value:.3f}" for name, value in report.measures.items())
        console.print(f"[dim]{named}[/]", highlight=False)
    console.print(f"decision    [bold {colour}]{report.decision.action}[/]")
    console.print(f"why         {plain(report.explain())}", highlight=False)
    for label, lines in (("problem", report.problems), ("note", report.notes)):
        for line in lines:
            console.print(f"{label:<11} {plain(line)}", highlight=False)
    usage = report.usage
    console.print(f"[dim]cost        {usage.requests} requests, {usage.seconds:.1f} s[/]", highlight=False)


def show_comparison(console: Console, easy: UncertaintyReport, hard: UncertaintyReport) -> None:
    """Say which of two answers is less certain, as the numbers have it."""
    console.rule()
    for label, report in (("easy", easy), ("hard", hard)):
        console.print(
            f"{label}: uncertainty [bold]{report.score:.2f}[/], {report.decision.action}: "
            f"{plain(report.question)} -> {plain(report.answer)}",
            highlight=False,
        )
    if hard.score > easy.score:
        console.print(f"The hard question is less certain, by {hard.score - easy.score:.2f}.", highlight=False)
    else:
        console.print(
            f"This time the hard question is not less certain ({hard.score:.2f} against {easy.score:.2f}).",
            highlight=False,
        )


def show_perturbations(console: Console, question: str, perturbed: Perturbed) -> None:
    """Print what would be asked."""
    table = Table("sibling", "close", "made by", "generation", title=plain(question), title_justify="left")
    for p in perturbed.perturbations:
        generation = "-" if p.generation is None else str(p.generation)
        table.add_row(plain(p.text), _number(p.similarity), p.operator, generation)
    console.print(table)
    for note in perturbed.notes:
        console.print(f"note: {plain(note)}", highlight=False)


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print what is installed, and for what is missing the command that mends it."""
    table = Table("", "what", "for", "version, or how to get it")
    for finding in findings:
        mark = "[green]ok[/]" if finding.present else "[red]missing[/]" if finding.required else "[yellow]missing[/]"
        table.add_row(mark, finding.what, finding.purpose, escape(finding.detail))
    console.print(table)


def _answers(sibling: Sibling) -> str:
    distinct = Counter(plain(answer) for answer in sibling.answers).most_common()
    lines = [
        f"{text if len(text) <= 60 else text[:57] + '...'}{f' (x{count})' if count > 1 else ''}"
        for text, count in distinct[:_ANSWERS_SHOWN]
    ]
    if len(distinct) > _ANSWERS_SHOWN:
        lines.append(f"[dim](and {len(distinct) - _ANSWERS_SHOWN} others)[/]")
    if sibling.failures:
        lines.append(f"[dim]({len(sibling.failures)} missing)[/]")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
