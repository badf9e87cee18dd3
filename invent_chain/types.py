"""The values that flow between the rooms: frozen records, plain enough for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from invent_chain.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_QUOTING = frozenset({"question", "answer", "siblings", "notes"})

Status = Literal["ok", "degraded", "failed"]
Action = Literal["answer", "retrieve_more", "fallback", "abstain"]

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A perturbed sibling of a question.

    Attributes:
        text: What will be asked. Never empty, never equal to the original.
        similarity: Closeness to the original in [0, 1]; 1 = same meaning. None where the perturber has no measure.
        operator: What made it: "substitution", "crossover", "mutation", "surface", "paraphrase", "custom".
        generation: Generation of the genetic algorithm it was sampled from (0 = initial population), else None.
    """

    text: str
    similarity: float | None = None
    operator: str = "custom"
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What was spent. Tokens are None where the model did not say.

    Attributes:
        requests: Requests sent to the model, failed ones included.
        prompt_tokens: Tokens read, as reported by the model.
        completion_tokens: Tokens written, as reported by the model.
        seconds: Wall-clock time.
        cache_hits: Answers that came out of a cache instead of a request.
        cost: Money, in the currency of the prices given; None without a price for the model.
    """

    requests: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float = 0.0
    cache_hits: int = 0
    cost: float | None = None

    def __add__(self, other: Usage) -> Usage:
        def total(a: Number | None, b: Number | None) -> Number | None:
            if a is None or b is None:
                return b if a is None else a
            return a + b

        return Usage(
            requests=self.requests + other.requests,
            prompt_tokens=total(self.prompt_tokens, other.prompt_tokens),
            completion_tokens=total(self.completion_tokens, other.completion_tokens),
            seconds=self.seconds + other.seconds,
            cache_hits=self.cache_hits + other.cache_hits,
            cost=total(self.cost, other.cost),
        )


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in any one currency.

    Attributes:
        prompt: Price of a million tokens read, >= 0.
        completion: Price of a million tokens written, >= 0.

    Raises:
        ConfigurationError: One is no number, or below 0.
    """

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        parts: dict[str, object] = {"prompt": self.prompt, "completion": self.completion}
        for name, value in parts.items():
            if not isinstance(value, int | float) or not 0.0 <= value < inf:
                raise ConfigurationError(f"{name}={value!r}: the price of a million tokens, a number of at least 0")

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(frozen=True, slots=True)
class Estimate:
    """What scoring one answer will cost at most, before it is asked for.

    Attributes:
        answers: Answers asked for.
        requests: Requests, if the model gives as many answers at once as it says.
        prompt_tokens: About how many tokens are read, at one for four characters; the prompt around the question counts
            where it is known, the marks of a chat template do not.
        completion_tokens: Tokens written, if every answer is as long as `max_tokens`; None without that setting.
        cost: Money; None without a price for the model, or without `max_tokens`.
        least_answers: Answers that it takes if they all agree: less than `answers` where the mode is not "fixed".
    """

    answers: int
    requests: int
    prompt_tokens: int
    completion_tokens: int | None
    cost: float | None
    least_answers: int


@dataclass(frozen=True, slots=True)
class Perturbed:
    """What a perturber returns.

    Attributes:
        perturbations: Distinct siblings, at most as many as were asked for.
        notes: What the user should know: fallbacks taken, siblings that are missing and why.
        usage: What was spent, for perturbers that ask a model.
    """

    perturbations: tuple[Perturbation, ...] = ()
    notes: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Generation settings of one request; they go in per call and None leaves the model's own.

    Attributes:
        temperature: Softmax temperature, >= 0.
        max_tokens: Most tokens to write, >= 1.
    """

    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Replies:
    """What one request brought back.

    Attributes:
        texts: One to `n` answers; fewer than `n` means that the model returned fewer.
        prompt_tokens: Tokens read by the request, where the model says.
        completion_tokens: Tokens written by the request, where the model says.
    """

    texts: tuple[str, ...]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Sibling:
    """One question that was asked, and what came back.

    Attributes:
        question: The text asked; the first sibling of a report is the original question.
        answers: Its replications. For the original the first one is the primary answer.
        similarity: Closeness of the question to the original in [0, 1]; 1 = the original itself. None if not scored.
        agreement: How far its answers back the primary answer, in [0, 1]; 1 = they say the same. The primary itself
            does not count. None if there was no other answer or nothing was scored.
        operator: What made it ("original", or a `Perturbation.operator`).
        failures: One sentence for each answer that did not come back.
    """

    question: str
    answers: tuple[str, ...]
    similarity: float | None = None
    agreement: float | None = None
    operator: str = "original"
    failures: tuple[str, ...] = ()

    @property
    def disagrees(self) -> bool:
        """Whether its answers are nearer to unrelated than to equal (agreement below the middle of its range)."""
        return self.agreement is not None and self.agreement < 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with the answer, and why in one sentence."""

    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a score depends on. Only scores with equal fingerprints are comparable (METHOD: the value depends on n).

    Attributes:
        model: Name of the model asked.
        perturber: Name and settings of the perturber.
        similarity: Name of the similarity, its encoder included.
        n: Perturbations requested.
        r: Answers requested for each sibling.
        replications: Answers requested for the question itself, the primary one included.
        draws: Bootstrap draws B.
        temperature: Sampling temperature of the siblings; None = the model's own.
        drop_echo: Whether the question's words were dropped from the answers before comparing them.
        variant: "paper" or "released".
        score: Name of the measure that `score` was made from.
        prompt: Digest of the system prompt and template around the question; "" where they are not known.
        mode: How many answers are asked for: "fixed", "screen", or "adaptive" with its error probability.
    """

    model: str
    perturber: str
    similarity: str
    n: int
    r: int
    replications: int
    draws: int
    temperature: float | None
    drop_echo: bool
    variant: str
    score: str
    prompt: str = ""
    mode: str = "fixed"


@dataclass(frozen=True, slots=True)
class UncertaintyReport:
    """How far to trust one answer, and what that judgement rests on.

    Attributes:
        question: The question as the user asked it.
        answer: The primary answer, unchanged.
        score: Uncertainty in [0, 1]; higher = more uncertain. 1.0 when `status` is "failed": unknown is not certain.
        confidence: Calibrated probability that the answer is right, in [0, 1]; None without a calibration.
        measures: Every measure by name (see `invent_chain.measures`); empty when `status` is "failed".
        siblings: What was asked and what came back, the original question first.
        decision: What the policy says to do.
        usage: Cost of scoring, the primary answer included if invent-chain asked for it.
        status: "ok"; "degraded" when something is missing but a score could be made; "failed" when none could.
        problems: What is missing and why, one sentence each; empty when `status` is "ok".
        notes: What the reader should know that is no failure (perturbation fallbacks, a lexical encoder).
        fingerprint: What the score depends on; only equal fingerprints are comparable.
        structure: For an answer that is a JSON object (structured output, tool calls): for each part by its path,
            the share of the other answers that hold the same value there, in [0, 1]; 1 = all agree. Else empty.
    """

    question: str
    answer: str
    score: float
    confidence: float | None
    measures: Mapping[str, float]
    siblings: tuple[Sibling, ...]
    decision: Decision
    usage: Usage
    status: Status
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    fingerprint: Fingerprint
    structure: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self, *, text: bool = True) -> dict[str, Any]:
        """Return the report as plain JSON types (dict, list, str, int, float, bool, None).

        Args:
            text: False leaves out what may quote the application: question, answer, siblings and notes. Problems are
                cut at their first colon, after which comes what others said.
        """
        plain: dict[str, Any] = _report_adapter().dump_python(self, mode="json")
        if text:
            return plain
        plain["problems"] = [problem.partition(": ")[0] for problem in self.problems]
        return {name: value for name, value in plain.items() if name not in _QUOTING}

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the report as a JSON object."""
        return _report_adapter().dump_json(self, indent=indent).decode()

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> UncertaintyReport:
        """Read a report back; `from_dict(report.to_dict()) == report`.

        Raises:
            pydantic.ValidationError: It is not a whole report; the message names the field.
        """
        return _report_adapter().validate_python(plain)

    @staticmethod
    def from_json(text: str | bytes) -> UncertaintyReport:
        """Read a report back; `from_json(report.to_json()) == report`.

        Raises:
            pydantic.ValidationError: The text is not a report; the message names the field.
        """
        return _report_adapter().validate_json(text)

    def explain(self) -> str:
        """Say in one plain sentence what was found and what follows from it."""
        if self.status == "failed":
            return f"The answer could not be scored ({'; '.join(self.problems)}), so: {self.decision.action}."
        compared = [(s.agreement, s) for s in self.siblings if s.agreement is not None]
        siblings = [(agreement, s) for agreement, s in compared if s.operator != "original"]
        found = "nothing was compared with the answer"
        if siblings:
            mean = sum(agreement for agreement, _ in siblings) / len(siblings)
            least, apart = min(siblings, key=lambda pair: pair[0])
            found = (
                f"answers to the rewordings of the question back this one by {mean:.2f} on average "
                f"(1 = the same answer), least by {least:.2f} for {apart.question!r}"
            )
        elif compared:
            found = f"further answers to the question back this one by {compared[0][0]:.2f} (1 = the same answer)"
        if self.fingerprint.score == "consensus" and compared:
            found = f"{self.measures['consensus']:.0%} of the other answers say the same as this one; {found}"
        missing = "" if self.status == "ok" else f", with gaps ({'; '.join(self.problems)})"
        return (
            f"{found[0].upper()}{found[1:]}{missing}, which makes the uncertainty {self.score:.2f} "
            f"on a scale from 0 to 1, so: {self.decision.action} ({self.decision.reason})."
        )


@cache
def _report_adapter() -> TypeAdapter[UncertaintyReport]:
    from pydantic import ConfigDict, TypeAdapter, with_config

    strict = with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
    for record in (UncertaintyReport, Sibling, Decision, Usage, Fingerprint):
        strict(record)
    return TypeAdapter(UncertaintyReport)


def summary(record: object) -> str:
    """Name a configuration record in one line, for fingerprints: `Name(field=value, ...)`."""
    settings = ", ".join(f"{f.name}={getattr(record, f.name)!r}" for f in fields(record) if f.repr)  # type: ignore[arg-type]
    return f"{type(record).__name__}({settings})"
