"""What a user imports, and what that costs."""

from __future__ import annotations

import subprocess
import sys

import invent_chain
import langchain_invent


def test_public_names() -> None:
    assert langchain_invent.__all__ == [
        "ChatModelAsk",
        "RunnableAsk",
        "UncertainChatModel",
        "UncertaintyCallbackHandler",
        "UncertaintyRunnable",
        "after",
        "get_invent_callback",
        "uncertainty_of",
        "with_uncertainty",
    ]
    assert all(hasattr(langchain_invent, name) for name in langchain_invent.__all__)


def test_versions_go_together() -> None:
    assert langchain_invent.__version__ == invent_chain.__version__


def test_importing_needs_no_extra() -> None:
    extras = ("langchain", "langgraph", "langchain_openai", "torch", "openai")
    code = f"import sys, langchain_invent; print([m for m in {extras} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_named() -> None:
    for module, missing, extra in (("middleware", "langchain", "agents"), ("graph", "langgraph", "graph")):
        code = f"import sys; sys.modules[{missing!r}] = None; import langchain_invent.{module}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"pip install 'langchain-invent[{extra}]'" in done.stderr
