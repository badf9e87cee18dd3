"""Sample and score data sets on many machines with Ray Data (extra: `ray`); the results are those of one machine.

Models and encoders cannot travel between processes, so workers are given functions that make them. Each worker makes
its own once. Everything is written by the process that started the run, so one store serves as for a local run.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from invent_chain.errors import ConfigurationError, InventError, MissingExtraError
from invent_chain.evaluate.dataset import Question
from invent_chain.evaluate.runner import Collected, Collector
from invent_chain.evaluate.samples import Samples, SampleStore, samples_from_json, samples_to_json
from invent_chain.evaluate.scored import Judge, Scored, checked, contains_accepted, scored
from invent_chain.pipeline import InvEntropy
from invent_chain.sample.settings import check_whole

_KNOCK = 10.0
"""Seconds to wait for a cluster's host to take a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where a data set is worked on.

    Attributes:
        workers: Actors, each with a model and an encoder of its own, >= 1.
        address: Address of a running cluster, such as "ray://head:10001"; None starts one on this machine. In a process
            that is connected already, that connection is used.
        cpus: Processors that each actor asks the cluster for, > 0.
        gpus: GPUs that each actor asks for, for local models and encoders.

    Raises:
        ConfigurationError: A setting is out of range.
    """

    workers: int = 2
    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        check_whole("workers", self.workers)
        if not self.cpus > 0 or not self.gpus >= 0:
            raise ConfigurationError(f"cpus={self.cpus}, gpus={self.gpus}: more than 0 processors, at least 0 GPUs")


def collect_on_ray(
    make_ask: Callable[[], Any],
    questions: Sequence[Question],
    store: SampleStore,
    *,
    cluster: Cluster,
    make_similarity: Callable[[], Any] = lambda: None,
    progress: Callable[[int, int], object] | None = None,
    **settings: Any,
) -> Collected:
    """Do what `Collector.run` does, on a cluster; a run that was cut off goes on where it stopped.

    Args:
        make_ask: Makes the model, once for each worker.
        questions: The questions.
        store: Where samples go; questions whose id is in it are not asked again.
        cluster: Where.
        make_similarity: Makes the similarity.
        progress: Called with (questions done or failed, questions in all) after each.
        settings: Of the `Collector`.

    Raises:
        MissingExtraError: Ray is not installed.
        InventError: Nobody answers at the cluster's address.
        ConfigurationError: A setting is out of range.
        InputError: The store holds a line that is no record.
    """
    Collector(_never, store, **settings)  # complains about settings before anything is started
    known = store.ids()
    todo = [question for question in questions if question.id not in known]
    failed: dict[str, str] = {}
    requests = 0
    rows = [{"question": json.dumps(asdict(question))} for question in todo]
    at_once = int(settings.get("at_once", 4))
    make = (make_ask, make_similarity, settings)
    for done, row in enumerate(_mapped(rows, _Sampling, make, cluster, at_once), start=1):
        requests += int(row["requests"])
        if row["error"]:
            failed[row["id"]] = row["error"]
        else:
            store.append(samples_from_json(row["samples"]))
        if progress is not None:
            progress(len(questions) - len(todo) + done, len(questions))
    return Collected(len(todo) - len(failed), len(questions) - len(todo), failed, requests)


def score_on_ray(
    everything: Iterable[Samples],
    make_scorer: Callable[[], InvEntropy],
    *,
    cluster: Cluster,
    judge: Judge = contains_accepted,
) -> Scored:
    """Do what `score_samples` does, on a cluster.

    Args:
        everything: As there.
        make_scorer: Makes the scorer, once here and once for each worker.
        cluster: Where.
        judge: As there.

    Raises:
        MissingExtraError: Ray is not installed.
        InventError: Nobody answers at the cluster's address.
        InputError: As `score_samples`.
    """
    settings = make_scorer().fingerprint
    stored = checked(everything, settings)
    rows = [{"place": k, "samples": samples_to_json(samples)} for k, samples in enumerate(stored)]
    found = sorted(_mapped(rows, _Scoring, (make_scorer,), cluster, 16), key=lambda row: int(row["place"]))
    return scored(stored, settings, [(json.loads(row["measures"]), int(row["asked"])) for row in found], judge)


@dataclass
class _Kept:
    """A store that hands over what it was given."""

    samples: list[Samples] = field(default_factory=list)

    def ids(self) -> set[str]:
        return set()

    def append(self, samples: Samples) -> None:
        self.samples.append(samples)


class _Sampling:
    """An actor with a model and an encoder."""

    def __init__(
        self, make_ask: Callable[[], Any], make_similarity: Callable[[], Any], settings: dict[str, Any]
    ) -> None:
        self._kept = _Kept()
        self._collector = Collector(make_ask(), self._kept, similarity=make_similarity(), **settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        questions = [
            Question(**{**plain, "answers": tuple(plain["answers"])}) for plain in map(json.loads, batch["question"])
        ]
        self._kept.samples.clear()
        collected = self._collector.run(questions)
        by_id = {samples.id: samples_to_json(samples) for samples in self._kept.samples}
        return {
            "id": [question.id for question in questions],
            "samples": [by_id.get(question.id, "") for question in questions],
            "error": [collected.failed.get(question.id, "") for question in questions],
            "requests": [collected.requests, *[0] * (len(questions) - 1)],
        }


class _Scoring:
    """An actor with a scorer."""

    def __init__(self, make_scorer: Callable[[], InvEntropy]) -> None:
        self._scorer = make_scorer()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        from invent_chain.evaluate.scored import replay

        found = [replay(samples_from_json(text), self._scorer) for text in batch["samples"]]
        return {
            "place": list(batch["place"]),
            "measures": [json.dumps(measures) for measures, _ in found],
            "asked": [asked for _, asked in found],
        }


def _mapped(
    rows: list[dict[str, Any]], actor: type, make: tuple[Any, ...], cluster: Cluster, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yield what the actors make of the rows, as it comes."""
    try:
        import ray.data
    except ImportError as error:
        raise MissingExtraError("Running on Ray", "ray") from error
    if not rows:
        return
    with _connected(ray, cluster.address):
        data = ray.data.from_items(rows, override_num_blocks=max(1, -(-len(rows) // batch_size)))
        mapped = data.map_batches(
            actor,
            fn_constructor_args=make,
            batch_size=batch_size,
            compute=ray.data.ActorPoolStrategy(size=min(cluster.workers, len(rows))),
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
        )
        yield from mapped.iter_rows()


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one that ends with the run, unless the process is connected already."""
    mine = not ray.is_initialized()
    if mine:
        if address is not None:
            _check_address(address)
        try:
            ray.init(address=address, include_dashboard=None if address else False, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise InventError(f"no Ray cluster at {address}: {error}") from error
    try:
        yield
    finally:
        if mine:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Knock at HOST:PORT first: Ray itself goes on trying for minutes where nobody answers."""
    where = urlsplit(address if "//" in address else f"//{address}")
    try:
        host, port = where.hostname, where.port
        if host is not None and port is not None:  # "auto" and the like have none
            socket.create_connection((host, port), timeout=_KNOCK).close()
    except (OSError, ValueError) as error:
        raise InventError(f"no Ray cluster at {address} ({error}): check that it runs, its host and port") from error


def _never(question: str) -> str:
    raise AssertionError(question)
