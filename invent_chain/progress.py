"""How far a scoring has come, for those who watch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

logger = logging.getLogger(__name__)

Stage = Literal["answer", "perturb", "ask", "compare"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scoring has come.

    Attributes:
        stage: What is under way: "answer" once the primary answer is there, "perturb", "ask", "compare".
        done: Answers that came back or failed so far.
        total: Answers asked for; 0 before it is known. May grow in mode "adaptive" and "screen".
        answer: The primary answer.
    """

    stage: Stage
    done: int
    total: int
    answer: str


class Teller:
    """Calls the user's progress function; what that raises is logged and goes no further."""

    def __init__(self, progress: Callable[[Progress], object] | None, answer: str) -> None:
        self._progress, self._answer = progress, answer

    def __call__(self, stage: Stage, done: int = 0, total: int = 0) -> None:
        """Tell how far it is."""
        if self._progress is None:
            return
        try:
            self._progress(Progress(stage, done, total, self._answer))
        except Exception:
            logger.warning("the progress function raised; scoring goes on", exc_info=True)
