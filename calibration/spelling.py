"""Words in messages: the hint that turns a misspelt name into the right one, and how many there are of something."""

import difflib
import re
from collections.abc import Iterable

MOST_LISTED = 24  # names; of more, such as a dataset's scenes, the first and the last


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The `fix` of an InputError about an unknown name: its nearest neighbour among the known, else all of them."""
    known = list(known)
    near = difflib.get_close_matches(str(name), _without_its_series(str(name), known), n=1)
    if near:
        return f"did you mean {near[0]}?"
    if len(known) > MOST_LISTED:
        return f"known: {len(known)}, from {min(known)} to {max(known)}"
    return f"known: {', '.join(known) or 'none'}"


def counted(number: int, what: str) -> str:
    """A number of things: "1 frame", "2 frames"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _without_its_series(name: str, known: list[str]) -> list[str]:
    """The known names less those of a series that differ from the name by a number.

    scene-9999 is no misspelt scene-0005, though scene-5 is.
    """
    words, numbers = _parts(name)
    series = [other for other in known if _parts(other)[0] == words]
    others = {other for other in series if _parts(other)[1] != numbers} if len(series) > 1 else ()
    return [other for other in known if other not in others]


def _parts(name: str) -> tuple[str, list[int]]:
    """A name without its numbers, and those."""
    return re.sub(r"\d+", "", name), list(map(int, re.findall(r"\d+", name)))
