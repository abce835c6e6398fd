"""What every command does alike: arguments from a typed function, one line and exit code 2 for bad input."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Annotated, NoReturn, TypeVar

import typer

from calibration.errors import InputError

Item = TypeVar("Item")


class Precision(str, Enum):
    """What a detector computes in: perception.model.precision's, for commands whose --help must not load torch."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


PrecisionOption = Annotated[
    Precision,
    typer.Option(
        help="fp32; bf16 where processor or GPU has it, int8 where the CPU has VNNI: faster, scores about 1 % off."
    ),
]
BAD_INPUT = 2
# How often OpenMP's threads (GCC's, as torch has them) look for work before they sleep, about a millisecond. By default
# they look for ten times as long, and where others need the cores, too, that is what most of the time goes into.
LOOKS = ("GOMP_SPINCOUNT", "20000")
INTERRUPTED = 130  # what shells report after Ctrl-C

# typer ships its own copy of click in some versions and depends on it in others; the class is the same.
UsageError = typer.BadParameter.__mro__[1]


def run(main: Callable[..., None], *more: Callable[..., None], help: str | None = None) -> NoReturn:
    """Run `main` with the arguments its signature declares, and leave with its exit code.

    Its docstring is the help text. Of several functions the first argument names one; `help` is then the text of all.
    Mistakes in the arguments or the input end in one line on standard error, without
    a traceback; anything else is a bug of ours and keeps its traceback.
    """
    os.environ.setdefault(*LOOKS)  # read when torch is loaded, which no command has done yet
    settings = {"max_content_width": 100}
    app = typer.Typer(help=help, add_completion=False, pretty_exceptions_enable=False, context_settings=settings)
    for function in (main, *more):
        app.command(context_settings=settings)(_interruptible(function))
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        _leave(f"{error.format_message().replace('Value error, ', '').rstrip('.')}; see --help", BAD_INPUT)
    except InputError as error:
        _leave(str(error), BAD_INPUT)
    except _InterruptedError:
        _leave("interrupted", INTERRUPTED)
    except typer.Exit as error:
        code = error.exit_code
    sys.exit(code or 0)


class _InterruptedError(Exception):
    """Ctrl-C, under a name that typer leaves alone: what it makes of KeyboardInterrupt depends on its version."""


def _interruptible(main: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(main)
    def guarded(**arguments: object) -> None:
        try:
            main(**arguments)
        except KeyboardInterrupt as error:
            raise _InterruptedError from error

    return guarded


def _leave(message: str, code: int) -> NoReturn:
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def say(message: str) -> None:
    """A remark for the person in front, on standard error: results go to files and standard output."""
    print(message, file=sys.stderr)


def with_progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, behind a progress bar on standard error if a person is looking."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)
