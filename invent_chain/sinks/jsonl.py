"""Reports as lines of a file."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from invent_chain.errors import ConfigurationError
from invent_chain.types import UncertaintyReport

if sys.platform != "win32":
    import fcntl

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
_PATIENCE = 0.25


class JsonlSink:
    """Append one line of JSON for each report.

    The file only grows, and each line goes out in a single write: threads share a sink, and processes share a file
    (on Windows: threads of one process), without mixing lines. A line that a killed process left unfinished is ended
    before the next one. The file is opened for each report, so it can be moved away to rotate it, and is created for
    its owner alone to read.

    A line holds the report's fields and `time`, when it was written (UTC, ISO 8601). Without text it leaves out what
    quotes the application: question, answer, the siblings' texts, answers and failures, problems, notes, the reason
    and `structure`, whose names come from the answer; counts stand in for them (`answer_count`, `failure_count`,
    `problem_count`, `note_count`). With text a line is the whole report:

        line = json.loads(text)
        line.pop("time")
        report = UncertaintyReport.from_dict(line)

    Args:
        path: The file; its folder must exist. A relative path is taken from the working directory of this moment.
        text: True writes the whole report.

    Raises:
        ConfigurationError: The path is not a file that can be read and written.
    """

    def __init__(self, path: str | os.PathLike[str], *, text: bool = False) -> None:
        self._path, self._text = Path(path).expanduser().absolute(), text
        self._threads = threading.Lock()
        try:
            if self._path.exists() and not stat.S_ISREG(self._path.stat().st_mode):
                raise ConfigurationError(f"path={str(path)!r} is no regular file: name a file, or use LogSink")
            os.close(self._open())
        except (OSError, ValueError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"path={str(path)!r} cannot be written ({error}): name a file in a folder that exists, "
                "readable and writable for this process"
            ) from None

    def emit(self, report: UncertaintyReport) -> None:
        """Append one line.

        Raises:
            OSError: The file cannot be opened, or the disk is full.
        """
        record = {"time": datetime.now(UTC).isoformat(), **_plain(report, text=self._text)}
        line = json.dumps(record, allow_nan=False).encode("ascii") + b"\n"  # ASCII takes lone surrogates too
        descriptor = self._open()
        try:
            with self._alone(descriptor):
                if _torn(descriptor):
                    line = b"\n" + line
                written = os.write(descriptor, line)
        finally:
            os.close(descriptor)
        if written < len(line):
            raise OSError(f"{written} of {len(line)} bytes could be written to {self._path}")

    def _open(self) -> int:
        return os.open(self._path, _FLAGS, 0o600)

    @contextmanager
    def _alone(self, descriptor: int) -> Iterator[None]:
        """Keep others from writing between the look at the last byte and the write; give up after _PATIENCE seconds."""
        if sys.platform == "win32":
            with self._threads:
                yield
            return
        until = time.monotonic() + _PATIENCE
        locked = False
        while not locked:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except BlockingIOError:
                if time.monotonic() > until:
                    break  # the holder is stopped, not busy; an append stays whole without the lock
                time.sleep(0.001)
            except OSError:
                break  # a file system without locks
        try:
            yield
        finally:
            if locked:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough: a fork may hold a copy


def _torn(descriptor: int) -> bool:
    if os.lseek(descriptor, 0, os.SEEK_END) == 0:
        return False
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1) != b"\n"


def _plain(report: UncertaintyReport, *, text: bool) -> dict[str, Any]:
    plain = report.to_dict()
    if text:
        return plain
    for name in ("question", "answer", "problems", "notes", "structure"):
        del plain[name]
    return plain | {
        "decision": {"action": report.decision.action},
        "siblings": [
            {
                "operator": sibling.operator,
                "similarity": sibling.similarity,
                "agreement": sibling.agreement,
                "answer_count": len(sibling.answers),
                "failure_count": len(sibling.failures),
            }
            for sibling in report.siblings
        ],
        "problem_count": len(report.problems),
        "note_count": len(report.notes),
    }
