"""A model on this machine's own GPU or CPU (extra: `local`): one batched generation for all siblings of a question."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from invent_chain.errors import AskError, ConfigurationError, MissingExtraError
from invent_chain.sample.settings import PLACE, check_texts, check_whole
from invent_chain.sample.thread import in_thread
from invent_chain.types import Replies, Sampling

_DTYPES = ("float32", "bfloat16", "float16", "float64")


class LocalAsk:
    """Ask a causal language model of `transformers`, loaded at first use and never changed.

    All siblings and replications of a question are generated in one go: what their prompts share (system prompt,
    template, retrieved context) is computed once, and its keys and values are reused. Generations run one after the
    other, in a worker thread; a cancelled one goes on to its end.

    Args:
        model: Name on the model hub, local folder, or a loaded model.
        tokenizer: The same for the tokenizer; None takes the model's name or folder.
        system: System prompt, never perturbed; None for none.
        template: User message; each `{question}` in it is replaced, other braces stay. The question had better come
            last, since what comes before it is computed once.
        max_tokens: Longest answer where the request sets no limit, >= 1.
        device: Torch device, such as "cuda"; None takes a GPU if there is one. A loaded model stays where it is.
        dtype: Torch dtype by name: "float32", "bfloat16", "float16" or "float64"; None is bfloat16 on a GPU that has
            it, else float32.
        batch_size: Most answers in one forward pass, >= 1; halved for as long as memory does not suffice.
        seed: Seed of the sampling, >= 0: a new `LocalAsk` that is asked the same in the same order gives the same
            answers. Each generation draws afresh, so that asking once more never repeats an answer by itself. None
            takes a random seed. Torch's own random state is neither used nor changed.
        load: Further arguments of `from_pretrained`, such as {"gguf_file": "model.gguf"}.
        name: Name in the fingerprint; None takes the model's. Answers of a loaded model are cached only under a name
            that you give, since nothing else tells two of them apart.

    Raises:
        ConfigurationError: A setting is wrong; the message says which.
        MissingExtraError: torch or transformers is not installed.
    """

    max_n = 1024

    def __init__(
        self,
        model: Any,
        *,
        tokenizer: Any = None,
        system: str | None = None,
        template: str = PLACE,
        max_tokens: int = 256,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int = 64,
        seed: int | None = None,
        load: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        if find_spec("torch") is None or find_spec("transformers") is None:
            raise MissingExtraError("LocalAsk", "local")
        by_name = _is_source(model)
        if by_name and not str(model).strip():
            raise ConfigurationError("the model's name is empty: pass a name on the model hub, a folder or a model")
        if not by_name and (isinstance(model, type) or not callable(getattr(model, "forward", None))):
            raise ConfigurationError(f"model is a {type(model).__name__}: pass a name, a folder or a loaded model")
        if not by_name and tokenizer is None:
            raise ConfigurationError("a loaded model needs its tokenizer: pass tokenizer=")
        if dtype is not None and dtype not in _DTYPES:
            raise ConfigurationError(f"dtype={dtype!r}: choose {', '.join(map(repr, _DTYPES))} or None")
        if load is not None and not isinstance(load, Mapping):
            raise ConfigurationError(f"load is a {type(load).__name__}: pass a dict of arguments of from_pretrained")
        if not by_name and (device is not None or dtype is not None or load):
            raise ConfigurationError("device, dtype and load are for loading: a loaded model stays as it is")
        check_texts(system, template)
        check_whole("max_tokens", max_tokens)
        check_whole("batch_size", batch_size)
        if seed is not None:
            check_whole("seed", seed, least=0)
        self._source, self._tokenizer_source = model, model if tokenizer is None else tokenizer
        self._device, self._dtype, self._load = device, dtype, dict(load or {})
        self._system, self._template, self._max_tokens = system, template, max_tokens
        self._batch_size = batch_size
        self._seeds = np.random.SeedSequence(seed)
        self._lock = threading.Lock()
        self._model: Any = None
        self._tokenizer: Any = None
        self.name = name or (Path(str(model)).name if by_name else _name_of(model))
        self.prompt = _digest([system, template])[:12]
        parts = [str(part) if _is_source(part) else "" for part in (self._source, self._tokenizer_source)]
        known = bool(name) or all(parts)
        what = [name, *parts, self._load, system, template, max_tokens, dtype]
        self.identity = _digest(what) if known else ""

    def __repr__(self) -> str:
        return f"LocalAsk({self.name})"

    def filled(self, question: str) -> str:
        """Return the whole text that is sent for a question, without the chat template's marks."""
        return (self._system or "") + self._template.replace(PLACE, question)

    async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
        """Generate `n` answers to one question.

        Raises:
            AskError: The model cannot be loaded, or memory does not suffice for a single answer.
        """
        (replies,) = await self.ask_many([(question, n)], sampling=sampling)
        return replies

    async def ask_many(self, wanted: Sequence[tuple[str, int]], *, sampling: Sampling) -> Sequence[Replies]:
        """Generate all answers to (question, n) pairs in one go.

        Raises:
            AskError: As `ask`.
        """
        return await in_thread(lambda: self._generate(wanted, sampling))

    def _generate(self, wanted: Sequence[tuple[str, int]], sampling: Sampling) -> list[Replies]:
        from invent_chain.sample.generate import generate

        with self._lock:
            self._ensure_loaded()
            prompts = [self._tokens(question) for question, _ in wanted]
            rows = [k for k, (_, n) in enumerate(wanted) for _ in range(n)]
            try:
                generated = generate(
                    self._model,
                    [prompts[k] for k in rows],
                    temperature=sampling.temperature,
                    max_tokens=sampling.max_tokens or self._max_tokens,
                    batch_size=self._batch_size,
                    seed=self._next_seed(),
                    pad=_pad_of(self._tokenizer),
                )
            except RuntimeError as error:
                raise AskError(
                    f"{self.name} could not generate ({type(error).__name__}): lower max_tokens, or take a smaller "
                    "model or another dtype or device"
                ) from error
        texts: list[list[str]] = [[] for _ in wanted]
        written = [0] * len(wanted)
        for k, tokens in zip(rows, generated, strict=True):
            texts[k].append(self._tokenizer.decode(tokens, skip_special_tokens=True).strip())
            written[k] += len(tokens)
        return [Replies(tuple(t), len(p), w) for t, p, w in zip(texts, prompts, written, strict=True)]

    def _next_seed(self) -> int:
        (sequence,) = self._seeds.spawn(1)
        return int(sequence.generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits

    def _tokens(self, question: str) -> list[int]:
        content = self._template.replace(PLACE, question)
        if getattr(self._tokenizer, "chat_template", None):
            messages = [{"role": "user", "content": content}]
            if self._system is not None:
                messages.insert(0, {"role": "system", "content": self._system})
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(self._tokenizer(self.filled(question))["input_ids"])

    def _ensure_loaded(self) -> None:
        if self._model is not None:
            return
        try:
            self._tokenizer = _loaded(self._tokenizer_source, self._load_tokenizer)
            self._model = _loaded(self._source, self._load_model)
        except Exception as error:
            said = str(error).partition("\n")[0]
            raise AskError(
                f"the model {self._source!s} could not be loaded ({type(error).__name__}: {said}): check its name on "
                "the model hub or its folder, the network, device and load (a GGUF needs load={'gguf_file': ...})"
            ) from error

    def _load_tokenizer(self, source: str) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(source, **{k: v for k, v in self._load.items() if k == "gguf_file"})

    def _load_model(self, source: str) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        half = device.startswith("cuda") and torch.cuda.is_bf16_supported()
        dtype = getattr(torch, self._dtype) if self._dtype else (torch.bfloat16 if half else torch.float32)
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **self._load)
        return model.to(device).eval()


def _is_source(part: Any) -> bool:
    """Whether it is a name or a folder to load from, and not the thing itself."""
    return isinstance(part, str | Path)


def _loaded(source: Any, load: Callable[[str], Any]) -> Any:
    return load(str(source)) if _is_source(source) else source


def _pad_of(tokenizer: Any) -> int:
    """Return a token to fill gaps with; it is masked, so any will do."""
    pad = tokenizer.pad_token_id
    return 0 if pad is None else int(pad)


def _name_of(model: Any) -> str:
    known = getattr(getattr(model, "config", None), "_name_or_path", "")
    return Path(known).name if known else type(model).__name__


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()
