"""Sinks: what they write, what they keep to themselves, and what cannot stop them."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError, MissingExtraError
from invent_chain.sinks import JsonlSink, LogSink, OpenTelemetrySink, Sink, attributes
from invent_chain.types import Decision, Fingerprint, Sibling, Usage

SECRETS = ("Palau", "Koror", "Melekeok", "sk-123", "because", "capital")

REPORT = UncertaintyReport(
    question="What is the capital of Palau?",
    answer='{"Koror": 1}',
    score=0.25,
    confidence=None,
    measures={"support": 0.75, "inv_entropy": 1.5},
    siblings=(
        Sibling("What is the capital of Palau?", ('{"Koror": 1}', "Koror"), similarity=1.0, agreement=0.9),
        Sibling("Palau's capital?", ("Melekeok",), 0.8, 0.1, "substitution", failures=("401: sk-123",)),
    ),
    decision=Decision("answer", "because Koror is well known"),
    usage=Usage(requests=3, prompt_tokens=40, completion_tokens=None, seconds=1.5),
    status="degraded",
    problems=("1 of 3 answers did not come back: 401: sk-123",),
    notes=("no sibling for Palau",),
    fingerprint=Fingerprint("tiny", "gaap", "words", 1, 2, 2, 30, 0.7, True, "paper", "support"),
    structure={"Koror": 0.5},
)


def quiet(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


def test_the_flat_numbers() -> None:
    assert attributes(REPORT) == {
        "invent.score": 0.25,
        "invent.status": "degraded",
        "invent.decision": "answer",
        "invent.requests": 3,
        "invent.cache_hits": 0,
        "invent.input_tokens": 40,
        "invent.seconds": 1.5,
        "invent.siblings": 1,
        "invent.failures": 1,
        "invent.measures.support": 0.75,
        "invent.measures.inv_entropy": 1.5,
    }


def test_the_flat_text_is_asked_for() -> None:
    added = attributes(REPORT, text=True).items() - attributes(REPORT).items()
    assert dict(added) == {
        "invent.question": REPORT.question,
        "invent.answer": REPORT.answer,
        "invent.reason": REPORT.decision.reason,
        "invent.problems": REPORT.problems[0],
    }


def test_the_flat_text_can_be_encoded() -> None:
    flat = attributes(replace(REPORT, answer="\ud83d", problems=()), text=True)
    assert flat["invent.answer"] == "?"
    assert "invent.problems" not in flat


def test_a_confidence_of_zero_is_there_and_nan_is_not() -> None:
    flat = attributes(replace(REPORT, confidence=0.0, measures={"support": float("nan")}))
    assert flat["invent.confidence"] == 0.0
    assert "invent.measures.support" not in flat


# --- log -------------------------------------------------------------------------------------------------------------


def test_log_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="invent_chain.reports"):
        LogSink().emit(REPORT)
    (record,) = caplog.records
    assert record.getMessage() == "uncertainty 0.250, so: answer (status degraded; 3 requests, 40 tokens, 1.50 s)"
    fields = {name: value for name, value in vars(record).items() if name.startswith("invent_")}
    assert fields == {name.replace(".", "_"): value for name, value in attributes(REPORT).items()}
    assert quiet(str(vars(record)))


def test_log_text_stays_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        LogSink(logging.getLogger("app"), level=logging.WARNING, text=True).emit(replace(REPORT, answer="a\nb"))
    (record,) = caplog.records
    assert record.name == "app"
    assert "Palau?' -> 'a\\nb', because because Koror" in record.getMessage()
    assert vars(record)["invent_answer"] == "a\nb"


def test_log_below_the_level_is_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        LogSink().emit(REPORT)
    assert not caplog.records


def test_log_tokens_unknown(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="invent_chain.reports"):
        LogSink().emit(replace(REPORT, usage=Usage()))
    assert "unknown tokens" in caplog.text


@pytest.mark.parametrize(
    ("settings", "says"), [({"logger": "app"}, "logger='app'.*logging.getLogger"), ({"level": "INFO"}, "level='INFO'")]
)
def test_log_bad_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        LogSink(**settings)


# --- jsonl -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "reports.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_jsonl_without_text(path: Path) -> None:
    JsonlSink(path).emit(REPORT)
    assert quiet(path.read_text())
    (line,) = read(path)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "score": 0.25,
        "confidence": None,
        "measures": {"support": 0.75, "inv_entropy": 1.5},
        "siblings": [
            {"operator": "original", "similarity": 1.0, "agreement": 0.9, "answer_count": 2, "failure_count": 0},
            {"operator": "substitution", "similarity": 0.8, "agreement": 0.1, "answer_count": 1, "failure_count": 1},
        ],
        "decision": {"action": "answer"},
        "usage": {
            "requests": 3,
            "prompt_tokens": 40,
            "completion_tokens": None,
            "seconds": 1.5,
            "cache_hits": 0,
            "cost": None,
        },
        "status": "degraded",
        "fingerprint": REPORT.to_dict()["fingerprint"],
        "problem_count": 1,
        "note_count": 1,
    }


def test_jsonl_with_text_is_the_whole_report(path: Path) -> None:
    report = replace(REPORT, answer="Líne\nbreaks\u2028 and \x85 more")
    sink = JsonlSink(path, text=True)
    sink.emit(report)
    sink.emit(REPORT)
    first, second = read(path)
    for line, expected in ((first, report), (second, REPORT)):
        line.pop("time")
        assert UncertaintyReport.from_dict(line) == expected


def test_jsonl_takes_half_a_surrogate_pair(path: Path) -> None:
    JsonlSink(path, text=True).emit(replace(REPORT, answer="\ud83d"))
    assert read(path)[0]["answer"] == "\ud83d"


@pytest.mark.parametrize("torn", ['{"score": 0.', '{"a": 1}\n{"score"'])
def test_jsonl_ends_a_torn_line_first(path: Path, torn: str) -> None:
    sink = JsonlSink(path)
    sink.emit(REPORT)
    before = path.read_text()
    path.write_text(before + torn)
    sink.emit(REPORT)
    sink.emit(REPORT)
    text = path.read_text()
    assert text.startswith(before + torn + "\n")
    assert [json.loads(line)["score"] for line in text.splitlines()[-2:]] == [0.25, 0.25]
    assert text.count("\n") == 1 + torn.count("\n") + 1 + 2


def test_jsonl_keeps_what_is_there_and_is_for_its_owner(path: Path) -> None:
    JsonlSink(path).emit(REPORT)
    JsonlSink(path)
    assert len(read(path)) == 1
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0


def test_jsonl_can_be_rotated_and_survives_a_new_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sink = JsonlSink("reports.jsonl")
    sink.emit(REPORT)
    (tmp_path / "reports.jsonl").rename(tmp_path / "old.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    sink.emit(REPORT)
    assert len(read(tmp_path / "reports.jsonl")) == len(read(tmp_path / "old.jsonl")) == 1


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (lambda folder: folder, "no regular file"),
        (lambda folder: folder / "none" / "x.jsonl", "folder that exists"),
        (lambda folder: "a\0b", "cannot be written"),
        (lambda folder: os.devnull, "no regular file"),
    ],
)
def test_jsonl_bad_path(tmp_path: Path, place: Callable[[Path], Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"path=.*{says}"):
        JsonlSink(place(tmp_path))


def test_jsonl_threads_do_not_mix_lines(path: Path) -> None:
    sink = JsonlSink(path, text=True)
    long = replace(REPORT, answer="x" * 20_000)

    def emit_some() -> None:
        for _ in range(25):
            sink.emit(long)

    threads = [threading.Thread(target=emit_some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(line["answer"]) for line in read(path)] == [20_000] * 200


def emit_many(path: str, count: int) -> None:
    sink = JsonlSink(path, text=True)
    for _ in range(count):
        sink.emit(replace(REPORT, answer="x" * 20_000))


def test_jsonl_processes_do_not_mix_lines(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=emit_many, args=(str(path), 40)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [len(line["answer"]) for line in read(path)] == [20_000] * 120


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_jsonl_waits_for_a_line_that_another_process_is_writing(path: Path) -> None:
    import fcntl

    sink = JsonlSink(path)
    with path.open("ab", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b'{"score": ')
        thread = threading.Thread(target=sink.emit, args=(REPORT,))
        thread.start()
        thread.join(0.05)
        other.write(b"1}\n")
        fcntl.flock(other, fcntl.LOCK_UN)
        thread.join()
    assert [line["score"] for line in read(path)] == [1, 0.25]


HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_jsonl_does_not_wait_forever_for_a_stopped_process(path: Path) -> None:
    sink = JsonlSink(path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        sink.emit(REPORT)
        holder.kill()
    assert len(read(path)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits there")
def test_jsonl_survives_a_full_disk(path: Path) -> None:
    script = """
import resource, signal, sys
from tests.test_sinks import REPORT
from invent_chain.sinks import JsonlSink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = JsonlSink(sys.argv[1])
sink.emit(REPORT)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(open(sys.argv[1]).read()) + 50, resource.RLIM_INFINITY))
try:
    sink.emit(REPORT)
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.emit(REPORT)
"""
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("50 of ")
    whole, torn, after = path.read_text().splitlines()
    assert len(torn) == 50
    assert json.loads(whole)["score"] == json.loads(after)["score"] == 0.25


# --- OpenTelemetry ---------------------------------------------------------------------------------------------------


class Spans:
    """A real SDK that keeps its spans in memory; the global provider stays as it is."""

    def __init__(self) -> None:
        sdk = pytest.importorskip("opentelemetry.sdk.trace")
        export = pytest.importorskip("opentelemetry.sdk.trace.export")
        memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
        self.exporter = memory.InMemorySpanExporter()
        self.provider = sdk.TracerProvider()
        self.provider.add_span_processor(export.SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def done(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.provider.shutdown()


def test_otel_sets_the_numbers_on_the_span_that_records(spans: Spans) -> None:
    sink = OpenTelemetrySink(tracer=spans.tracer)
    with spans.tracer.start_as_current_span("mine", attributes={"gen_ai.usage.input_tokens": 7, "app": "x"}):
        sink.emit(REPORT)
    (span,) = spans.done()
    assert span.name == "mine"
    assert dict(span.attributes) == {"gen_ai.usage.input_tokens": 7, "app": "x", **attributes(REPORT)}
    assert quiet(span.to_json())


def test_otel_makes_a_span_of_its_own(spans: Spans) -> None:
    OpenTelemetrySink(tracer=spans.tracer).emit(REPORT)
    (span,) = spans.done()
    assert span.name == "invent score"
    assert span.end_time - span.start_time == 1_500_000_000
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "tiny",
        "gen_ai.usage.input_tokens": 40,
        **attributes(REPORT),
    }


def test_otel_does_not_write_on_a_span_that_ended(spans: Spans) -> None:
    with spans.tracer.start_as_current_span("mine") as mine:
        mine.end()
        OpenTelemetrySink(tracer=spans.tracer).emit(REPORT)
    assert [span.name for span in spans.done()] == ["mine", "invent score"]


def test_otel_text_is_asked_for(spans: Spans) -> None:
    OpenTelemetrySink(text=True, tracer=spans.tracer).emit(REPORT)
    (span,) = spans.done()
    assert span.attributes["invent.reason"] == REPORT.decision.reason
    assert span.attributes["invent.answer"] == REPORT.answer


def test_otel_without_a_provider_is_silent() -> None:
    pytest.importorskip("opentelemetry")
    OpenTelemetrySink().emit(REPORT)


def test_otel_failures_are_logged_and_go_no_further(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("opentelemetry")

    class Broken:
        def start_span(self, *args: object, **settings: object) -> object:
            raise RuntimeError("no exporter")

    OpenTelemetrySink(tracer=Broken()).emit(REPORT)  # type: ignore[arg-type]
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "invent_chain.sinks.otel")


def test_otel_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"OpenTelemetrySink needs .*invent-chain\[otel\]"):
        OpenTelemetrySink()


# --- all of them, behind a scorer ------------------------------------------------------------------------------------


def test_they_are_sinks(path: Path) -> None:
    pytest.importorskip("opentelemetry")
    assert all(isinstance(sink, Sink) for sink in (LogSink(), JsonlSink(path), OpenTelemetrySink()))


@pytest.mark.anyio
@pytest.mark.parametrize("face", ["score", "ascore"])
async def test_a_scorer_tells_its_sinks(face: str, path: Path, spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    sinks: list[Sink] = [LogSink(), JsonlSink(path), OpenTelemetrySink(tracer=spans.tracer)]
    with (
        InvEntropy(lambda question: "Koror", n=1, r=2, sinks=sinks) as scorer,
        caplog.at_level(logging.INFO, logger="invent_chain.reports"),
        spans.tracer.start_as_current_span("mine"),
    ):
        question = "Which town is the capital of Palau?"
        report = scorer.score(question) if face == "score" else await scorer.ascore(question)
    (span,) = spans.done()
    assert span.name == "mine"
    assert span.attributes["invent.score"] == report.score
    assert read(path)[0]["score"] == report.score
    assert len(caplog.records) == 1
