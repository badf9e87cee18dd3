"""langchain-tests: the unit suite directly, the integration suite as a comparison with the bare model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.unit_tests import ChatModelUnitTests

from invent_chain.demo import BundledModel
from langchain_invent import UncertainChatModel

HERE = Path(__file__).parent


class Wrapped(UncertainChatModel):
    def __init__(self, **settings: Any) -> None:
        super().__init__(ChatOpenAI(**settings))


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return Wrapped

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "bundled", "api_key": "none"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Outcome of each test of the integration suite, by class and name."""
    written = tmp_path_factory.mktemp("suite") / "outcomes.xml"
    with BundledModel() as model:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "standard_suite.py", "-q", "-W", "default", f"--junitxml={written}"),
                *("-p", "no:cacheprovider", "-p", "no:benchmark"),
                *("-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session", "-o", "addopts="),
            ],
            cwd=HERE,
            env={**os.environ, "STANDARD_SUITE_URL": model.base_url},
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
    assert written.exists(), done.stdout + done.stderr
    found: dict[str, dict[str, str]] = {"TestBare": {}, "TestWrapped": {}}
    for case in ET.parse(written).iter("testcase"):
        bad = [part.tag for part in case if part.tag in ("failure", "error", "skipped")]
        found[case.attrib["classname"].rpartition(".")[2]][case.attrib["name"]] = bad[0] if bad else "passed"
    return found


def test_integration_suite_passes_what_the_bare_model_passes(outcomes: dict[str, dict[str, str]]) -> None:
    bare, wrapped = outcomes["TestBare"], outcomes["TestWrapped"]
    passed = {name for name, outcome in bare.items() if outcome == "passed"}
    assert len(passed) >= 20, bare
    assert {name: wrapped[name] for name in passed if wrapped[name] != "passed"} == {}
    assert bare.keys() == wrapped.keys()
