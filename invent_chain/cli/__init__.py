"""The command line: `invent-chain ask`, `evaluate`, `calibrate`, `perturb`, `demo` and `doctor`."""

import sys


def main() -> None:
    """Run the command line, or say how to install it."""
    try:
        from invent_chain.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.exit(f"the command line needs {error.name}: pip install 'invent-chain[cli]'")
    app(prog_name="invent-chain")
