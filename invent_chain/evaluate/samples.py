"""Everything that was sampled for a question, kept so that every measure can be recomputed without asking again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from invent_chain.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class SampledSibling:
    """A perturbed question and its answers.

    Attributes:
        text: What was asked.
        operator: What made it (see `Perturbation.operator`).
        similarity: Closeness to the original in [0, 1]; None where the perturber has no measure.
        answers: Its replications; fewer than were wanted where some did not come.
    """

    text: str
    operator: str
    similarity: float | None
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """What a model said to one question.

    Attributes:
        id: Id of the question in its file.
        question: The question.
        gold: Accepted answers.
        exact_case: Whether case matters in judging.
        model: Name of the model.
        template: Prompt template around the question; empty if it is not known.
        temperature: Sampling temperature of replications and siblings; None = the model's own.
        answer: The primary answer: the one that is judged and scored.
        replications: Further answers to the original question.
        siblings: Perturbed questions and their answers.
        prompt: Digest of system prompt and template (see `Fingerprint.prompt`); "" where they are not known.
    """

    id: str
    question: str
    gold: tuple[str, ...]
    exact_case: bool
    model: str
    template: str
    temperature: float | None
    answer: str
    replications: tuple[str, ...]
    siblings: tuple[SampledSibling, ...]
    prompt: str = ""


class SampleStore:
    """Samples in a JSONL file: append-only, one object a line; a line torn by a kill is dropped and asked again.

    One process may append at a time.

    Args:
        path: The file; made with the first append.

    Raises:
        ConfigurationError: Its folder does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise ConfigurationError(f"{self.path}: the folder {self.path.parent} does not exist; make it first")

    def __iter__(self) -> Iterator[Samples]:
        """Yield what is stored, in the order of appending.

        Raises:
            InputError: A line other than a torn last one is no record of samples; names file and line.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return  # torn by a kill; `append` cuts it off
                try:
                    yield _adapter().validate_json(line)
                except ValueError as error:
                    raise InputError(f"{self.path}, line {number}: no record of samples ({error})") from error

    def ids(self) -> set[str]:
        """Return the ids of the questions that are stored."""
        return {samples.id for samples in self}

    def append(self, samples: Samples) -> None:
        """Store samples on the disk; a torn line before them is cut off first."""
        with self.path.open("ab") as file:
            end = self._end_of_whole_lines()
            if end < file.tell():
                file.truncate(end)
            file.write(_adapter().dump_json(samples) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _end_of_whole_lines(self) -> int:
        """Return the offset after the last line break, read from the end, since files grow large."""
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - _BLOCK)
                file.seek(start)
                found = file.read(end - start).rfind(b"\n")
                if found >= 0:
                    return start + found + 1
                end = start
        return 0


def samples_to_json(samples: Samples) -> str:
    """Return samples as one line of JSON."""
    return _adapter().dump_json(samples).decode()


def samples_from_json(line: str) -> Samples:
    """Read back what `samples_to_json` gave."""
    return _adapter().validate_json(line)


@cache
def _adapter() -> TypeAdapter[Samples]:
    from pydantic import TypeAdapter

    return TypeAdapter(Samples)
