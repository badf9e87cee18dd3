"""The pages hold what they promise, quote safely and need no network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from invent_chain import InvEntropy
from invent_chain.calibrate import Certificate, certify
from invent_chain.cli.app import app
from invent_chain.embed import CosineSimilarity, LexicalEncoder
from invent_chain.errors import InputError
from invent_chain.evaluate import SampledSibling, Samples, SampleStore, Scored, score_samples
from invent_chain.report import query_page, samples_page

NASTY = "<script>alert('x')</script> & \"Koror\""
SIMILARITY = CosineSimilarity(LexicalEncoder())


def query() -> str:
    scorer = InvEntropy(
        n=2, r=2, similarity=SIMILARITY, perturber=lambda _q, _n: ["Palau's capital?", "Which <b>city?"]
    )
    report = scorer.score("Capital of Palau <now>?", answer=NASTY, ask=lambda q: NASTY if "city" in q else "Melekeok")
    return query_page(report, similarity=SIMILARITY)


def scored(size: int = 200) -> Scored:
    rng = np.random.default_rng(0)

    def one(k: int) -> Samples:
        share = rng.random()
        said = ["Koror" if rng.random() < share else f"town{j}" for j in range(12)]
        gold = ("Koror",) if rng.random() < share**0.5 else ("Ngerulmud",)
        sibling = SampledSibling("Palau's <capital>?", "custom", 0.9, (said[0], said[1]))
        return Samples(f"q{k}", f"Question {NASTY}?", gold, False, "m", "", 0.7, "Koror", tuple(said[2:]), (sibling,))

    scorer = InvEntropy(n=1, r=2, replications=10, similarity=SIMILARITY, perturber=lambda _q, _n: [])
    return score_samples([one(k) for k in range(size)], scorer)


def certified(scores: Scored) -> Certificate:
    outcome = certify(scores.uncertainty, scores.right, risk=0.45, confidence=0.8)
    assert isinstance(outcome, Certificate)
    return outcome


def test_a_query_page_shows_siblings_walks_and_decision() -> None:
    html = query()
    assert html.count("<tr>") == 1 + 3 + 2 * 3 + 1 + 8  # siblings, two heat maps of three states, measures; heads
    assert "flipped" in html
    assert "P_x" in html
    assert "P_y" in html
    assert ">fallback<" in html or ">abstain<" in html


def test_a_samples_page_shows_the_plots_and_the_worst_errors() -> None:
    scores = scored()
    html = samples_page(scores, certified(scores))
    assert html.count("<svg") == 3
    assert "certified: uncertainty" in html
    rows = re.findall(r'<td class="number">([\d.]+)</td></tr>', html)
    assert len(rows) == 10
    assert rows == sorted(rows)
    assert float(rows[0]) == pytest.approx(scores.uncertainty[~scores.right].min(), abs=0.005)


@pytest.mark.parametrize("html", [query(), samples_page(scored())], ids=["query", "samples"])
def test_pages_quote_safely_and_need_no_network(html: str) -> None:
    assert "<script" not in html
    assert "<b>city" not in html
    assert "&lt;script&gt;" in html
    assert not re.search(r"(src|href|@import|url\()", html)


def test_labels_of_one_kind_are_refused() -> None:
    scores = scored()
    one_kind = Scored(
        scores.samples, scores.uncertainty, np.ones_like(scores.right), {}, scores.fingerprint, scores.asked
    )
    with pytest.raises(InputError, match="all 200 answers are right"):
        samples_page(one_kind)


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "samples.jsonl")
    for samples in scored(40).samples:
        store.append(samples)
    target = tmp_path / "report.html"
    plan = ["--n", "1", "--r", "2", "--encoder", "lexical"]
    run = CliRunner().invoke(app, ["report", str(store.path), "-o", str(target), *plan])
    assert run.exit_code == 0, run.output
    assert target.read_text().startswith("<!doctype html>")
    run = CliRunner().invoke(app, ["report", str(store.path), "-o", str(tmp_path / "none" / "x.html"), *plan])
    assert run.exit_code == 2
    assert "cannot be written" in run.output


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_chromium_renders_the_page(tmp_path: Path) -> None:
    scores = scored()
    file = tmp_path / "page.html"
    file.write_text(samples_page(scores, certified(scores)), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    dom = subprocess.run(
        [*command, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert dom.count("<circle") >= 4
    assert "The most confident errors" in dom
