"""What all commands do alike: exit codes, and one line for what went wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from calibration.errors import InputError
from perception.command import run, say, with_progress


def leave(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, main: object, *arguments: str) -> tuple:
    monkeypatch.setattr(sys, "argv", ["tool.py", *arguments])
    with pytest.raises(SystemExit) as left:
        run(main)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def test_a_command_that_ends_well_leaves_with_0(monkeypatch, capsys) -> None:
    def main(number: int) -> None:
        print(number + 1)

    assert leave(monkeypatch, capsys, main, "41") == (0, "42\n", "")


def test_threads_sleep_sooner_unless_told_otherwise(monkeypatch, capsys) -> None:
    def main() -> None:
        print(os.environ["GOMP_SPINCOUNT"])

    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert leave(monkeypatch, capsys, main)[1] == "20000\n"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert leave(monkeypatch, capsys, main)[1] == "7\n"


def test_torch_is_not_loaded_before_a_command_runs() -> None:
    code = "import perception.command, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bad_input_is_one_line_and_2(monkeypatch, capsys) -> None:
    def main() -> None:
        raise InputError("points", "(N, 5)", "two\nlines")

    assert leave(monkeypatch, capsys, main) == (2, "", "points: expected (N, 5), got two lines\n")


@pytest.mark.parametrize("arguments", [(), ("one", "two"), ("--colour", "1"), ("text",)])
def test_arguments_that_do_not_fit_are_one_line_and_2(monkeypatch, capsys, arguments) -> None:
    def main(number: int) -> None:
        raise AssertionError(number)

    code, out, err = leave(monkeypatch, capsys, main, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--help" in err


def test_interrupting_is_one_line_and_130(monkeypatch, capsys) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    assert leave(monkeypatch, capsys, main) == (130, "", "interrupted\n")


def test_our_own_mistakes_keep_their_traceback(monkeypatch) -> None:
    def main() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["tool.py"])
    with pytest.raises(ZeroDivisionError):
        run(main)


def test_remarks_and_progress_leave_standard_output_alone(capsys) -> None:
    say("a remark")
    assert list(with_progress(iter("abc"), 3, "letters")) == ["a", "b", "c"]
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "a remark\n")
