"""The native checkpoint: a safetensors file whose tensors carry the network's own names, one for one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from calibration.errors import InputError
from calibration.files import is_file, written_whole

METADATA = {"format": "bevfuse-weights-1"}


@dataclass(frozen=True)
class Comparison:
    """How a set of tensors fits a network, by the network's names."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]  # the network has it, the file hasn't
    unexpected: tuple[str, ...]  # the file has it, the network hasn't
    misshapen: tuple[str, ...]  # "name: expected (..), got (..)"

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    @property
    def complete(self) -> bool:
        return self.misfits == 0

    @staticmethod
    def of(network: nn.Module, weights: Mapping[str, Tensor]) -> Comparison:
        """Compare without loading anything."""
        own = network.state_dict()
        both = [name for name in own if name in weights]
        fits = {name: own[name].shape == weights[name].shape for name in both}
        shapes = {name: (tuple(own[name].shape), tuple(weights[name].shape)) for name in both if not fits[name]}
        return Comparison(
            tuple(name for name in both if fits[name]),
            tuple(name for name in own if name not in weights),
            tuple(name for name in weights if name not in own),
            tuple(f"{name}: expected {want}, got {got}" for name, (want, got) in shapes.items()),
        )


def save_weights(path: str | Path, weights: Mapping[str, Tensor], about: Mapping[str, str] | None = None) -> None:
    """Write the file, whole or not at all; `about` says where the weights come from and is kept beside them.

    Raises InputError if it can't be written there.
    """
    path = Path(path)
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    with written_whole(path) as beside:
        beside.touch()
        mode = beside.stat().st_mode  # as for any new file; safetensors would keep it to its owner
        try:
            save_file(tensors, beside, {**(about or {}), **METADATA})
        except SafetensorError as error:  # a full disk, for one
            raise InputError(str(path), "a place to write to", str(error)) from error
        _sort_metadata(beside)
        beside.chmod(mode)


def _sort_metadata(path: Path) -> None:
    """safetensors writes metadata in an order that changes from time to time; the same weights are the same bytes."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        if len(text) == length:  # else it is written in another way; it stays as good as it was
            file.seek(8)
            file.write(text)


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load every tensor of the network from the file.

    Raises InputError if it is no checkpoint, or has missing, unexpected, wrongly shaped or non-finite tensors.
    """
    weights = read_weights(path)
    require_complete(Comparison.of(network, weights), str(path))
    broken = next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None)
    if broken is not None:
        raise InputError(f"{path}: {broken}", "finite numbers", "NaN or infinity", "train or fetch it again")
    network.load_state_dict(weights)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The file's tensors by name; raises InputError if it is no checkpoint."""
    path = Path(path)
    if not is_file(path):
        raise InputError(str(path), "a checkpoint (.safetensors)", "no such file")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        got, fix = f"another kind of file ({error})", "make one with tools/import_checkpoint.py"
        raise InputError(str(path), "a checkpoint (.safetensors)", got, fix) from error


def require_complete(
    comparison: Comparison, what: str, fix: str = "use the configuration that this checkpoint was made for"
) -> None:
    """Raise InputError that counts what doesn't fit and names the first of each kind."""
    kinds = {"missing": comparison.missing, "unexpected": comparison.unexpected, "wrong shape": comparison.misshapen}
    found = [
        f"{len(names)} {kind} ({names[0]}{', ...' if names[1:] else ''})" for kind, names in kinds.items() if names
    ]
    if found:
        expected = (
            f"the network's {len(comparison.loaded) + len(comparison.missing) + len(comparison.misshapen)} tensors"
        )
        raise InputError(what, expected, ", ".join(found), fix)
