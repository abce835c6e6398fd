"""Run a command of tools/ inside the test's process: as from a shell, without the seconds that imports take."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from perception.command import run

TOOLS = Path(__file__).resolve().parents[1] / "tools"


@dataclass(frozen=True)
class Finished:
    """What a command left on the terminal."""

    code: int
    stdout: str
    stderr: str


def run_tool(
    name: str, *arguments: object, capture: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Finished:
    """Run tools/NAME.py with these arguments."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where typer looks up the annotations
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    capture.readouterr()
    with pytest.raises(SystemExit) as left:
        run(*getattr(module, "COMMANDS", None) or (module.main,))
    printed = capture.readouterr()
    return Finished(left.value.code, printed.out, printed.err)
