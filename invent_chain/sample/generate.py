"""Batched generation with a shared prefix: what all prompts begin with is computed once."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache, LogitsProcessorList
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

logger = logging.getLogger(__name__)


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    temperature: float | None,
    max_tokens: int,
    batch_size: int,
    seed: int,
    pad: int,
) -> list[list[int]]:
    """Generate one continuation of each prompt.

    The tokens that all prompts begin with go through the model once; their keys and values are shared by every row. The
    rest is padded on the left, between prefix and prompt, masked and not counted in the positions, so that each row
    gets the same logits as alone. Rows that have ended leave the batch.

    Args:
        model: A causal language model of transformers, in evaluation mode.
        prompts: Token numbers, each with at least one token.
        temperature: Of the softmax; 0 is greedy, None the model's own setting.
        max_tokens: Most new tokens of a row.
        batch_size: Most rows at a time; halved where memory does not suffice.
        seed: Seed of the sampling, 63 bits.
        pad: Token to fill gaps with.

    Returns:
        New tokens of each row, without the one that ends it.

    Raises:
        RuntimeError: Memory does not suffice for a single row.
    """
    config = model.generation_config
    ends = config.eos_token_id
    stop = frozenset([] if ends is None else [ends] if isinstance(ends, int) else ends)
    greedy = temperature == 0 or (temperature is None and not config.do_sample)
    warp = _warpers(config, None if greedy else temperature, greedy=greedy)
    generator = torch.Generator(device=model.device)
    generator.manual_seed(seed)
    prefix = _shared(prompts)
    done: list[list[int]] = []
    with torch.inference_mode():
        kept = _prefill(model, list(prompts[0][:prefix])) if prefix else None
        while len(done) < len(prompts):
            rows = [list(prompt) for prompt in prompts[len(done) : len(done) + batch_size]]
            try:
                done += _batch(model, rows, prefix, kept, warp, generator, stop, max_tokens, pad, greedy=greedy)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if batch_size == 1 or not _is_out_of_memory(error):
                    raise
                batch_size = max(1, min(batch_size, len(rows)) // 2)
                logger.info("memory does not suffice: generating %d answers at a time", batch_size)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
    return done


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts begin with, leaving each at least one of its own."""
    most = min(map(len, prompts)) - 1
    columns = zip(*(prompt[:most] for prompt in prompts), strict=True)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _prefill(model: Any, tokens: list[int]) -> Any:
    cache = DynamicCache(config=model.config)
    model(
        input_ids=torch.tensor([tokens], device=model.device),
        use_cache=True,
        logits_to_keep=1,
        **{_cache_argument(model): cache},
    )
    return cache


def _cache_argument(model: Any) -> str:
    """Return what the model calls its KV cache: transformers renamed it in 5.24."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _batch(
    model: Any,
    rows: list[list[int]],
    prefix: int,
    kept: Any,
    warp: LogitsProcessorList,
    generator: torch.Generator,
    stop: frozenset[int],
    max_tokens: int,
    pad: int,
    *,
    greedy: bool,
) -> list[list[int]]:
    device = model.device
    if kept is None:
        cache = DynamicCache(config=model.config)
    else:
        cache = copy.deepcopy(kept)
        cache.batch_repeat_interleave(len(rows))
    width = max(map(len, rows)) - prefix
    gaps = [width - (len(row) - prefix) for row in rows]
    mask = torch.tensor(
        [[1] * prefix + [0] * gap + [1] * (width - gap) for gap in gaps], dtype=torch.long, device=device
    )
    whole = [row[:prefix] + [pad] * gap + row[prefix:] for gap, row in zip(gaps, rows, strict=True)]
    seen = torch.tensor(whole, device=device)
    step = seen[:, prefix:]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, prefix:]
    alive = list(range(len(rows)))
    written: list[list[int]] = [[] for _ in rows]
    for count in range(1, max_tokens + 1):
        out = model(
            input_ids=step,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{_cache_argument(model): cache},
        )
        scores: Any = warp(seen, out.logits[:, -1].float())  # type: ignore[arg-type]  # meant: a tensor of integers
        chances = scores.softmax(-1)
        chosen = chances.argmax(-1) if greedy else torch.multinomial(chances, 1, generator=generator)[:, 0]
        tokens = chosen.tolist()
        going = [k for k, token in enumerate(tokens) if token not in stop]
        for k in going:
            written[alive[k]].append(tokens[k])
        if not going or count == max_tokens:
            break
        if len(going) < len(alive):
            index = torch.tensor(going, device=device)
            cache.batch_select_indices(index)
            mask, seen, chosen, positions = mask[index], seen[index], chosen[index], positions[index]
            alive = [alive[k] for k in going]
        step = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        seen = torch.cat([seen, step], dim=1)
        positions = positions[:, -1:] + 1
    return written


def _warpers(config: Any, temperature: float | None, *, greedy: bool) -> LogitsProcessorList:
    """Return what the model's own settings do to its logits, with another temperature."""
    found: list[Callable[..., Any]] = []
    if config.repetition_penalty is not None and config.repetition_penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if not greedy:
        heat = config.temperature if temperature is None else temperature
        if heat is not None and heat != 1.0:
            found.append(TemperatureLogitsWarper(float(heat)))
        # Left at transformers' own default of 50, top_k would cut the distribution without being asked to.
        if config.top_k and "top_k" in config.to_diff_dict():
            found.append(TopKLogitsWarper(config.top_k))
        if config.top_p is not None and config.top_p < 1.0:
            found.append(TopPLogitsWarper(config.top_p))
    return LogitsProcessorList(found)


def _is_out_of_memory(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "not enough memory" in said
