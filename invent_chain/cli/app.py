"""The commands. What they print is in `view`, what they check in `doctor`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import anyio
import numpy as np
import typer
from rich.console import Console

from invent_chain import rounds as modes
from invent_chain.cli import view
from invent_chain.cli.doctor import examine
from invent_chain.demo import MODEL_NAME, MOST_CHOICES, BundledModel
from invent_chain.demo import is_installed as bundled_model_is_installed
from invent_chain.embed import LexicalEncoder, SentenceTransformerEncoder, as_similarity, bundled_minilm
from invent_chain.errors import AskError, ConfigurationError, InputError, InventError, MissingExtraError
from invent_chain.evaluate.on_ray import Cluster
from invent_chain.perturb import GAAP
from invent_chain.pipeline import InvEntropy
from invent_chain.protocols import PerturbContext, Similarity
from invent_chain.sample import OpenAIAsk, as_ask

EXIT_CODES = """\b
Exit codes:
  0   done
  1   the model gave no answer (server down, wrong key, time-out)
  2   wrong usage or input
  3   something is not installed; the message names the command
  4   the answer could not be scored
  5   no threshold could be certified (the map to P(right) is written)
  10  with --gate: the decision was not "answer"
"""

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # of this process; the encoder's bars would hide ours

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How far to trust an answer of your own language model.\n\n" + EXIT_CODES,
)
_out, _err = Console(), Console(stderr=True)


class PerturberName(StrEnum):
    """Choices of `--perturb`."""

    gaap = "gaap"
    paraphrase = "paraphrase"
    none = "none"


class ModeName(StrEnum):
    """Choices of `--mode`."""

    fixed = "fixed"
    adaptive = "adaptive"
    screen = "screen"


class EngineName(StrEnum):
    """Choices of `--engine`."""

    local = "local"
    ray = "ray"


Question = Annotated[str, typer.Argument(help="The question alone; instructions go into --instruction.")]
N = Annotated[int, typer.Option("--n", help="Perturbed siblings of the question.", min=1)]
R = Annotated[
    int | None,
    typer.Option(
        "--r", help="Answers for each question; by default 3 for a sibling, 23 for the question itself.", min=1
    ),
]
Model = Annotated[str, typer.Option(help=f"Model name; 'bundled' is {MODEL_NAME} on this machine.")]
BaseUrl = Annotated[str, typer.Option(help="OpenAI-compatible server; the key comes from OPENAI_API_KEY.")]
Instruction = Annotated[str, typer.Option(help="Appended to every question.")]
System = Annotated[str | None, typer.Option(help="System prompt.")]
Temperature = Annotated[float, typer.Option(help="Sampling temperature of the siblings.", min=0.0)]
MaxTokens = Annotated[int, typer.Option(help="Longest answer in tokens.", min=1)]
Timeout = Annotated[float, typer.Option(help="Longest time for one request in seconds.")]
Perturb = Annotated[PerturberName, typer.Option(help="How siblings are made.")]
Mode = Annotated[
    ModeName,
    typer.Option(
        help="How many answers are asked for: all; only as many as settle the decision; or two siblings first.",
    ),
]
Cached = Annotated[bool, typer.Option("--cache", help="Keep answers and embeddings on this machine's disk.")]
Engine = Annotated[EngineName, typer.Option(help="Where the work is done: in this process, or on a Ray cluster.")]
Workers = Annotated[int, typer.Option(help="With --engine ray: actors.", min=1)]
Address = Annotated[str | None, typer.Option(help="With --engine ray: a running cluster; by default one starts here.")]
SamplesFile = Annotated[Path, typer.Argument(help="What `invent-chain evaluate` stored.", exists=True, dir_okay=False)]
Risk = Annotated[float, typer.Option(help="Largest share of wrong answers among those that are given.")]
Confidence = Annotated[float, typer.Option(help="Probability with which that holds.")]
Seed = Annotated[int, typer.Option(help="Same seed and same answers, same report.", min=0)]
EncoderOption = Annotated[
    str,
    typer.Option(
        "--encoder",
        help="Sentence encoder: name or folder of a sentence-transformers model, 'bundled', or 'lexical' (words only). "
        "'auto' takes the bundled one where it is installed.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command()
def ask(
    question: Question,
    model: Model = "",
    base_url: BaseUrl = "",
    n: N = 9,
    r: R = None,
    perturb: Perturb = PerturberName.gaap,
    answer: Annotated[str | None, typer.Option(help="Score this answer instead of asking for one.")] = None,
    instruction: Instruction = "Answer concisely.",
    system: System = None,
    temperature: Temperature = 0.7,
    max_tokens: MaxTokens = 128,
    timeout: Timeout = 60.0,
    encoder: EncoderOption = "auto",
    seed: Seed = 0,
    mode: Mode = ModeName.fixed,
    cache: Cached = False,
    max_requests: Annotated[int | None, typer.Option(help="Most requests for the siblings.", min=1)] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page about it.")] = None,
    gate: Annotated[bool, typer.Option("--gate", help='Exit with 10 unless the decision is "answer".')] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a question; show the answer, how uncertain it is, and why."""
    from invent_chain.report import query_page

    with _told_plainly(), _model(model, base_url, instruction, system, max_tokens) as (asker, _):
        scorer = InvEntropy(
            asker,
            n=n,
            r=r,
            perturber=perturb.value,
            similarity=_similarity(encoder),
            temperature=temperature,
            max_tokens=max_tokens,
            timeout=timeout,
            seed=seed,
            mode=mode.value,
            cache=cache,
            max_requests=max_requests,
        )
        with scorer, view.Live(_err, _out, quiet=as_json) as live:
            found = scorer.score(question, answer=answer, progress=live)
        if html is not None:
            with _writing(html):
                html.write_text(query_page(found, similarity=scorer.similarity), encoding="utf-8")
    if as_json:
        typer.echo(found.to_json(indent=2))
    else:
        view.show_report(_out, found)
    if found.status == "failed":
        raise typer.Exit(4)
    if gate and found.decision.action != "answer":
        raise typer.Exit(10)


@app.command()
def evaluate(
    questions: Annotated[Path, typer.Argument(help="JSONL with id, question, answers; or CSV with question,value.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where samples are stored; another run goes on.")],
    model: Model = "",
    base_url: BaseUrl = "",
    n: N = 9,
    r: R = None,
    perturb: Perturb = PerturberName.gaap,
    instruction: Instruction = "Answer concisely.",
    system: System = None,
    temperature: Temperature = 0.7,
    max_tokens: MaxTokens = 128,
    timeout: Timeout = 60.0,
    at_once: Annotated[int, typer.Option(help="Questions under way at a time.", min=1)] = 4,
    encoder: EncoderOption = "auto",
    mode: Mode = ModeName.fixed,
    engine: Engine = EngineName.local,
    workers: Workers = 2,
    address: Address = None,
) -> None:
    """Sample a question file once, and say how well each measure tells wrong answers from right ones."""
    from invent_chain.cli import data

    with _told_plainly():
        make_scorer = partial(_scorer, n, r, perturb.value, encoder, mode.value, temperature)
        scorer = make_scorer()
        settings = scorer.fingerprint
        cluster = _cluster(engine, workers, address)
        with _model(model, base_url, instruction, system, max_tokens) as (asker, make_ask):
            collected = data.collect(
                asker,
                make_ask,
                questions,
                output,
                console=_err,
                n=settings.n,
                r=settings.r,
                replications=settings.replications - 1,
                perturber=perturb.value,
                make_similarity=partial(_similarity, encoder),
                cluster=cluster,
                temperature=temperature,
                max_tokens=max_tokens,
                timeout=timeout,
                at_once=at_once,
                template=_template(instruction),
            )
        data.show_collected(_out, collected)
        data.show_metrics(_out, data.scored(output, make_scorer, cluster))
    if collected.failed:
        raise typer.Exit(1)


@app.command()
def calibrate(
    samples: SamplesFile,
    risk: Risk = 0.1,
    confidence: Confidence = 0.9,
    output: Annotated[Path, typer.Option("-o", "--output", help="The calibration.")] = Path("calibration.json"),
    n: N = 9,
    r: R = None,
    perturb: Perturb = PerturberName.gaap,
    encoder: EncoderOption = "auto",
    fallback: Annotated[
        Path | None,
        typer.Option(help="Samples of a stronger model: also certify which share must go to it.", exists=True),
    ] = None,
    mode: Mode = ModeName.fixed,
    engine: Engine = EngineName.local,
    workers: Workers = 2,
    address: Address = None,
) -> None:
    """Learn P(right) and a threshold with a guarantee from samples whose right answers are known."""
    from invent_chain.calibrate import Calibration
    from invent_chain.cli import data

    with _told_plainly():
        make_scorer = partial(_scorer, n, r, perturb.value, encoder, mode.value)
        scores = data.scored(samples, make_scorer, _cluster(engine, workers, address))
        calibration, outcome = Calibration.fit(
            scores.uncertainty, scores.right, fingerprint=scores.fingerprint, risk=risk, confidence=confidence
        )
        cascade = None if fallback is None else data.cascade(scores, fallback, risk=risk, confidence=confidence)
        with _writing(output):
            calibration.save(output)
        data.show_calibration(_out, calibration, outcome)
        if cascade is not None:
            data.show_cascade(_out, cascade)
        _out.print(f"written     {output}", highlight=False)
    if calibration.certificate is None:
        raise typer.Exit(5)


@app.command()
def report(
    samples: SamplesFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="The page.")] = Path("report.html"),
    risk: Risk = 0.1,
    confidence: Confidence = 0.9,
    n: N = 9,
    r: R = None,
    perturb: Perturb = PerturberName.gaap,
    encoder: EncoderOption = "auto",
    mode: Mode = ModeName.fixed,
) -> None:
    """Write one HTML page: reliability, risk and coverage, distributions, the most confident errors."""
    from invent_chain.calibrate import certify
    from invent_chain.cli import data
    from invent_chain.report import samples_page

    with _told_plainly():
        scores = data.scored(samples, partial(_scorer, n, r, perturb.value, encoder, mode.value))
        outcome = certify(scores.uncertainty, scores.right, risk=risk, confidence=confidence)
        with _writing(output):
            output.write_text(samples_page(scores, outcome), encoding="utf-8")
    _out.print(f"written     {output}", highlight=False)


@app.command()
def perturb(
    question: Question,
    n: N = 9,
    seed: Seed = 0,
    paper: Annotated[
        bool, typer.Option("--paper", help="GAAP as published, without the product's safeguards.")
    ] = False,
    encoder: EncoderOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Show which siblings GAAP would ask; no model is called."""
    with _told_plainly():
        if not question.strip():
            raise InputError("the question is empty: there is nothing to perturb")
        similarity = as_similarity(_similarity(encoder))
        context = PerturbContext(rng=np.random.default_rng(seed), similarity=similarity, ask=as_ask(_no_model))
        gaap = GAAP.paper() if paper else GAAP()
        perturbed = anyio.run(gaap.perturb, question, n, context)
    if as_json:
        siblings = [
            {"text": p.text, "similarity": p.similarity, "operator": p.operator} for p in perturbed.perturbations
        ]
        typer.echo(json.dumps({"question": question, "siblings": siblings, "notes": perturbed.notes}, indent=2))
    else:
        view.show_perturbations(_out, question, perturbed)


@app.command()
def demo(
    easy: Annotated[str, typer.Option(help="A question the model should know.")] = "What is the capital of France?",
    hard: Annotated[str, typer.Option(help="A question it should not.")] = (
        "Which chemical element has the atomic number 91?"
    ),
) -> None:
    """Ask the bundled model an easy and a hard question and compare how certain it is."""
    reports = []
    with (
        _told_plainly(),
        _model("bundled", "", "Answer concisely and return only the name.", None, 64) as (asker, _),
        InvEntropy(asker, similarity=_similarity("auto"), max_tokens=64) as scorer,
    ):
        for question in (easy, hard):
            with view.Live(_err, _out, quiet=False) as live:
                reports.append(scorer.score(question, progress=live))
            view.show_report(_out, reports[-1])
    view.show_comparison(_out, *reports)
    if any(report.status == "failed" for report in reports):
        raise typer.Exit(4)


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing, and the command that mends it."""
    findings = examine()
    view.show_findings(_out, findings)
    if not all(finding.present for finding in findings if finding.required):
        raise typer.Exit(3)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error


def _template(instruction: str) -> str:
    return f"{{question}} {instruction}".strip()


def _scorer(
    n: int, r: int | None, perturber: str, encoder: str, mode: modes.Mode, temperature: float = 0.7
) -> InvEntropy:
    return InvEntropy(
        n=n, r=r, perturber=perturber, similarity=_similarity(encoder), mode=mode, temperature=temperature
    )


def _cluster(engine: EngineName, workers: int, address: str | None) -> Cluster | None:
    if engine is EngineName.ray:
        return Cluster(workers=workers, address=address)
    if address is not None:
        raise ConfigurationError("--address names a Ray cluster: add --engine ray")
    return None


def _similarity(encoder: str) -> Similarity | LexicalEncoder | SentenceTransformerEncoder:
    if encoder == "lexical":
        return LexicalEncoder()
    if encoder == "bundled":
        return bundled_minilm()
    if encoder == "auto":
        try:
            return bundled_minilm()
        except MissingExtraError:
            return LexicalEncoder()
    return SentenceTransformerEncoder(encoder)


@contextmanager
def _model(
    model: str, base_url: str, instruction: str, system: str | None, max_tokens: int
) -> Iterator[tuple[OpenAIAsk, Callable[[], OpenAIAsk]]]:
    """Yield the model, and a function that makes it once more in another process."""
    if not model and not base_url and bundled_model_is_installed():
        model = "bundled"
    if not model:
        raise ConfigurationError(
            "no model: name one with --model (and --base-url for a local server), "
            "or install the bundled one (`invent-chain doctor` names the commands)"
        )
    openai = _openai()
    settings: dict[str, Any] = {"system": system, "template": _template(instruction)}
    with ExitStack() as stack:
        if model == "bundled" and not base_url:
            server = stack.enter_context(BundledModel())
            client: dict[str, Any] = {"base_url": server.base_url, "api_key": "bundled", "max_retries": 0}
            # Greedy, so that the same question shows the same answer; its port is another one each time.
            settings |= {"extra": {"temperature": 0.0, "max_tokens": max_tokens}, "max_n": MOST_CHOICES}
            settings |= {"server": MODEL_NAME}
            model = MODEL_NAME
        else:
            key = os.environ.get("OPENAI_API_KEY")
            if not key and not base_url:
                raise ConfigurationError("OPENAI_API_KEY is not set: export it, or name a local server with --base-url")
            client = {"base_url": base_url or None, "api_key": key or "none"}
        here = stack.enter_context(openai.OpenAI(**client))
        yield OpenAIAsk(here, model=model, **settings), partial(_made, client, model, settings)


def _made(client: dict[str, Any], model: str, settings: dict[str, Any]) -> OpenAIAsk:
    return OpenAIAsk(_openai().OpenAI(**client), model=model, **settings)


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise MissingExtraError("asking a model", "openai") from error
    return openai


def _no_model(_question: str) -> NoReturn:
    raise ConfigurationError("`invent-chain perturb` asks no model")


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Turn the library's errors into one line and an exit code; anything else is a defect and keeps its traceback."""
    try:
        yield
    except InventError as error:
        _err.print(f"[bold red]error:[/] {view.plain(str(error))}", highlight=False)
        if isinstance(error, AskError):
            raise typer.Exit(1) from None
        raise typer.Exit(2 if isinstance(error, InputError | ConfigurationError) else 3) from None
