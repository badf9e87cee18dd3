"""Question files: JSONL with `question` and `answers`, or CSV with the columns `question,value`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from invent_chain.errors import InputError


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what counts as a right answer.

    Attributes:
        id: Unique in its file; the line number where the file names none.
        question: The text.
        answers: Accepted answers, at least one; any one counts.
        exact_case: Whether case matters, as for chemical symbols.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    exact_case: bool = False


def read_questions(path: str | Path) -> list[Question]:
    """Read a question file.

    JSONL: one object a line with `question` and `answers` (a list, or one text), optionally `id` and `exact_case`;
    other keys are left alone. CSV: a header with `question` and `value`, alternatives in a value separated by `|`.

    Raises:
        InputError: The file is missing, empty or of another kind, or a line is wrong; names file and line.
    """
    file = Path(path)
    if file.suffix not in (".jsonl", ".csv"):
        raise InputError(f"{file}: a question file ends in .jsonl or .csv")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    rows = _jsonl(file, text) if file.suffix == ".jsonl" else _csv(file, text)
    questions = [_question(file, line, row) for line, row in rows]
    seen: dict[str, int] = {}
    for (line, _), question in zip(rows, questions, strict=True):
        if question.id in seen:
            raise InputError(
                f"{file}, line {line}: the id {question.id!r} was used in line {seen[question.id]} already"
            )
        seen[question.id] = line
    if not questions:
        raise InputError(f"{file} holds no question")
    return questions


def _jsonl(file: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except ValueError as error:
            raise InputError(f"{file}, line {line}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{file}, line {line}: holds a {type(row).__name__}; write one JSON object a line")
        rows.append((line, row))
    return rows


def _csv(file: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(keepends=True))
    names = reader.fieldnames or []
    if "question" not in names or "value" not in names:
        raise InputError(f"{file}: the header is {list(names)}; it must name the columns question and value")
    return list(_csv_rows(reader))


def _csv_rows(reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for row in reader:
        answers = [part.strip() for part in (row["value"] or "").split("|") if part.strip()]
        named = {"id": row["id"]} if row.get("id") else {}
        yield reader.line_num, {**named, "question": row["question"], "answers": answers}


def _question(file: Path, line: int, row: dict[str, Any]) -> Question:
    question, answers = row.get("question"), row.get("answers")
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(question, str) or not question.strip():
        raise InputError(f"{file}, line {line}: question={question!r}; it must be a text")
    if not _is_texts(answers):
        raise InputError(f"{file}, line {line}: answers={answers!r}; give at least one text that counts as right")
    exact = row.get("exact_case", False)
    if not isinstance(exact, bool):
        raise InputError(f"{file}, line {line}: exact_case={exact!r}; it must be true or false")
    return Question(str(row.get("id", line)), question, tuple(answers), exact)


def _is_texts(values: object) -> TypeGuard[list[str]]:
    return isinstance(values, list) and bool(values) and all(isinstance(v, str) and v.strip() for v in values)
