"""What a user imports, and what that costs."""

from __future__ import annotations

import subprocess
import sys

import invent_chain


def test_public_names() -> None:
    assert invent_chain.__all__ == [
        "GAAP",
        "Decision",
        "InvEntropy",
        "InventError",
        "OpenAIAsk",
        "Perturbation",
        "SentenceTransformerEncoder",
        "Sibling",
        "Thresholds",
        "UncertaintyReport",
    ]


def test_importing_pulls_in_nothing_heavy() -> None:
    heavy = ("torch", "sklearn", "langchain", "langchain_core", "openai", "sentence_transformers", "transformers")
    code = f"import sys, invent_chain; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
