"""One query: the answer, the decision, the siblings, and the two walks."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any

from invent_chain.embed import as_similarity, drop_echo
from invent_chain.protocols import FloatArray
from invent_chain.report.page import page, table, tiles
from invent_chain.types import Sibling, UncertaintyReport
from invent_chain.walk import transition_matrix

_ANSWERS = 5


def query_page(report: UncertaintyReport, *, similarity: Any = None) -> str:
    """Return a page about one report; it quotes question and answers.

    Args:
        report: The report.
        similarity: The one that the scorer had, as for `InvEntropy`: with it the page shows heat maps of `P_x` and
            `P_y`, where each question stands for its first answer. It encodes the texts again.

    Raises:
        EmbeddingError: The similarity failed.
    """
    numbers = [("uncertainty, 0 to 1", f"{report.score:.2f}"), ("decision", report.decision.action)]
    if report.confidence is not None:
        numbers.append(("P(right), calibrated", f"{report.confidence:.2f}"))
    numbers += [("status", report.status), ("requests", str(report.usage.requests))]
    remarks = "".join(f'<p class="soft">{escape(text)}</p>' for text in (*report.problems, *report.notes))
    return page(
        report.question,
        f"<h1>{escape(report.question)}</h1><p>{escape(report.answer)}</p>",
        tiles(numbers),
        f"<p>{escape(report.explain())}</p>{remarks}",
        "<h2>What was asked, and what came back</h2>",
        table(("asked", "answers", "#close", "#agrees"), map(_row, report.siblings)),
        "" if similarity is None else _walks(report, similarity),
        "<h2>Measures</h2>" if report.measures else "",
        table(("measure", "#value"), ((escape(k), f"{v:.3f}") for k, v in report.measures.items()))
        if report.measures
        else "",
    )


def _row(sibling: Sibling) -> tuple[str, str, str, str]:
    counts = Counter(sibling.answers).most_common()
    said = [f"{escape(text)}{f' (x{count})' if count > 1 else ''}" for text, count in counts[:_ANSWERS]]
    if len(counts) > _ANSWERS:
        said.append(f'<span class="soft">and {len(counts) - _ANSWERS} others</span>')
    said += [f'<span class="wrong">missing: {escape(failure)}</span>' for failure in sibling.failures]
    asked = escape(sibling.question) if sibling.operator != "original" else "<i>the question itself</i>"
    if sibling.disagrees:
        asked += ' <span class="wrong">flipped</span>'
    return asked, "<br>".join(said), _number(sibling.similarity), _number(sibling.agreement)


def _walks(report: UncertaintyReport, similarity: Any) -> str:
    spoke = [sibling for sibling in report.siblings if sibling.answers]
    questions = [sibling.question for sibling in spoke]
    answers = [sibling.answers[0] for sibling in spoke]
    if report.fingerprint.drop_echo:
        answers = [drop_echo(a, q, report.question) for a, q in zip(answers, questions, strict=True)]
    between = as_similarity(similarity).compare(questions, answers)
    maps = zip(("P_x: the walk over the questions", "P_y: the walk over their first answers"), between, strict=True)
    return "<h2>The two walks</h2>" + '<div class="side">{}</div>'.format(
        "".join(_heat(name, transition_matrix(matrix), questions) for name, matrix in maps)
    )


def _heat(name: str, matrix: FloatArray, names: list[str]) -> str:
    least, top = float(matrix.min()), float(matrix.max())
    span = max(top - least, 1e-12)
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td style="background: rgba(var(--heat), {(value - least) / span:.2f})" '
            f'title="{escape(f"{a} -> {b}: {value:.3f}")}"></td>'
            for b, value in zip(names, row, strict=True)
        )
        + "</tr>"
        for a, row in zip(names, matrix.tolist(), strict=True)
    )
    return (
        f'<figure><table class="heat">{rows}</table><figcaption>{escape(name)}: rows from, columns to, the question '
        f"first; {least:.3f} (pale) to {top:.3f}</figcaption></figure>"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
