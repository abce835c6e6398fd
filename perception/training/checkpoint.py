"""Training state on disk: all that is needed to go on as if nothing had happened."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calibration.errors import InputError
from calibration.files import written_whole

FORMAT = "bevfuse-training-1"
FREE_TO_CHANGE = {"config.training.workers", "config.training.save_minutes", "config.training.keep_epochs"}


@dataclass(frozen=True)
class State:
    """What changes from step to step."""

    step: int  # steps done
    network: Mapping[str, torch.Tensor]
    average: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, Any]


def save_state(path: Path, state: State, identity: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all; `identity` is JSON that tells this run from others."""
    with written_whole(path) as beside:
        content = {"format": FORMAT, "identity": json.dumps(identity), **vars(state)}
        try:
            torch.save(content, beside)
        except RuntimeError as error:  # what torch makes of a full disk, in its own words
            raise InputError(str(path), "room to write to", "a file cut short", "is the disk full?") from error


def load_state(path: Path, identity: Mapping[str, Any]) -> State | None:
    """The state that this very run left; None if it left none.

    Raises InputError for a file that is no such state, and for another run's, naming what is different.
    """
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        form = content.get("format") if isinstance(content, dict) else None
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        got = f"another kind of file ({type(error).__name__})"
        raise InputError(str(path), "a training state", got, "use another --out") from error
    if form != FORMAT:
        raise InputError(str(path), f"a training state ({FORMAT})", "another file", "use another --out")
    theirs, ours = _flat(json.loads(content["identity"])), _flat(json.loads(json.dumps(identity)))
    for name in sorted((theirs.keys() | ours.keys()) - FREE_TO_CHANGE):
        if theirs.get(name) != ours.get(name):
            got = f"{name} {ours.get(name)!r:.60} where it had {theirs.get(name)!r:.60}"
            raise InputError(str(path), "the run that this state is of", got, "repeat its command or use another --out")
    return State(content["step"], content["network"], content["average"], content["optimizer"])


def _flat(data: Any, place: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots."""
    if not isinstance(data, dict):
        return {place: data}
    return {
        name: value
        for key, inner in data.items()
        for name, value in _flat(inner, f"{place}.{key}" if place else key).items()
    }
