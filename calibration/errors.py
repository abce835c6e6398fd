"""The one error that bad input raises, everywhere: it names what, what was expected, what came, and what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Input from outside (a file, a matrix, an option) that cannot be used.

    The text reads `what: expected X, got Y; do Z` on one line; commands print it and leave with exit code 2.
    Mistakes of the calling code (a wrong array shape handed from one function to the next) raise it too, so that a
    user who writes ten lines against the library sees the same sentence as one who runs a command.
    """

    def __init__(self, what: str, expected: str, got: str, fix: str = "") -> None:
        text = f"{what}: expected {expected}, got {got}"
        super().__init__(f"{text}; {fix}" if fix else text)

    def __reduce__(self) -> tuple:
        """Raised in a worker process, it reaches the one in front as it is."""
        return _again, (type(self), str(self))


def _again(kind: type[InputError], text: str) -> InputError:
    return kind.__new__(kind, text)
