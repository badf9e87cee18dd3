"""Every example runs as a user would run it, and the README shows only names that exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INTEGRATIONS = ("langchain-invent", "llama-index-evaluation-invent")


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_example(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "uncertainty" in done.stdout


@pytest.mark.parametrize("readme", ["README.md", *(f"integrations/{name}/README.md" for name in INTEGRATIONS)])
def test_the_readme_imports_what_exists(readme: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / readme).read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        tree = compile(block, readme, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.startswith(("invent_chain", "langchain_invent", "llama_index.evaluation.invent"))
            ):
                for alias in node.names:
                    assert hasattr(import_module(node.module), alias.name)
