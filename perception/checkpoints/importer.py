"""Public checkpoints to native ones: find the layout, rename, convert, and compare with every configuration.

    imported = import_checkpoint("bevfusion-det.pth", ["configs/bevfusion_lidar_camera.yaml"])
    imported.save("bevfusion.safetensors")

What was found is in `imported`; report.py makes text of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from calibration.errors import InputError
from perception.checkpoints import mit_han_lab, mmdetection3d
from perception.checkpoints.layout import Layout
from perception.checkpoints.native import Comparison, require_complete, save_weights
from perception.checkpoints.torch_file import read_state_dict
from perception.config import load_config
from perception.model.network import Network

LAYOUTS = (mmdetection3d.LAYOUT, mit_han_lab.LAYOUT)

_WRAPPERS = re.compile(r"^(module\.|model\.)+")  # of DataParallel and of trainers that hold the model as a member
_SHADOW = "ema_"  # mmcv's running averages; those worth using it stores under the plain names


@dataclass(frozen=True)
class Fit:
    """A file's weights, brought to the sparse layout of a configuration's network, and how they fit it."""

    config: Path
    weights: Mapping[str, Tensor]  # by our names; those that don't fit are among them
    permuted: tuple[str, ...]
    comparison: Comparison


@dataclass(frozen=True)
class ImportedCheckpoint:
    """A public checkpoint in our names and conventions."""

    source: Path
    layout: Layout
    config: Path  # that it fits best
    as_good: tuple[Path, ...]  # other configurations whose networks have the very same tensors
    weights: Mapping[str, Tensor]  # what fits, by our names
    comparison: Comparison
    origins: Mapping[str, str]  # our name -> theirs
    converted: tuple[str, ...]  # one phrase each
    skipped: tuple[str, ...]

    def save(self, path: str | Path, partial: bool = False) -> None:
        """Write the native file.

        Raises InputError if anything is missing, unexpected or of the wrong shape, unless `partial`: then the file
        holds only what fits, which the detector refuses to load. That nothing fits is an error in any case.
        """
        if not partial or not self.weights:
            fix = f"give the --config it was made for (now {self.config.name}), or write what fits with --partial"
            require_complete(self.comparison, str(self.source), fix)
        about = {"source": self.source.name, "layout": self.layout.name, "configuration": self.config.name}
        save_weights(path, self.weights, about)


def import_checkpoint(source: str | Path, configs: Iterable[str | Path]) -> ImportedCheckpoint:
    """Read a checkpoint of a public code, and compare it with configurations, of which the best fit is taken.

    Raises InputError if it can't be read, or is of no layout or architecture that is known here.
    """
    source = Path(source)
    file = read_state_dict(source)
    bare = {name: _WRAPPERS.sub("", name) for name in file.tensors}
    plain = {name: short for name, short in bare.items() if not short.startswith(_SHADOW)}
    layout = recognise(plain.values(), str(source))
    origins = _origins(plain, layout, str(source))
    best, *others = rank(map(Path, configs), {ours: file.tensors[name] for ours, name in origins.items()})
    weights, converted = _converted(best, layout)
    counts = {"constants that follow from the configuration": len(plain) - len(origins)}
    counts["running averages (ema_*)"] = len(bare) - len(plain)
    return ImportedCheckpoint(
        source,
        layout,
        best.config,
        tuple(fit.config for fit in others if fit.comparison == best.comparison),
        weights,
        best.comparison,
        origins,
        converted,
        (*_counted(counts), *file.skipped),
    )


def recognise(names: Iterable[str], what: str) -> Layout:
    """The layout of a checkpoint with these names; raises InputError for others, and for what isn't supported."""
    names = list(names)
    top = Counter(name.split(".")[0] for name in names)
    layout = next((layout for layout in LAYOUTS if not layout.marks.isdisjoint(top)), None)
    if layout is None:
        known = " or ".join(layout.name for layout in LAYOUTS)
        found = ", ".join(name for name, _ in top.most_common(8))
        raise InputError(what, f"a BEVFusion checkpoint of {known}", f"the top-level names {found}")
    reason = layout.unsupported(names)
    if reason is not None:
        raise InputError(what, "a LiDAR or a LiDAR and camera detector", reason)
    return layout


def rank(configs: Iterable[Path], tensors: Mapping[str, Tensor]) -> list[Fit]:
    """How the tensors fit each configuration's network, best first, equals in the order given."""
    fits = []
    for config in configs:
        settings = load_config(config)
        with torch.device("meta"):  # shapes without memory
            network = Network(settings)
        weights, permuted = in_our_sparse_layout(tensors, network.state_dict())
        fits.append(Fit(config, weights, permuted, Comparison.of(network, weights)))
    if not fits:
        raise InputError("configurations to compare with", "one or more (.yaml)", "none", "give one with --config")
    return sorted(fits, key=lambda fit: fit.comparison.misfits)


def in_our_sparse_layout(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Sparse weights (kx, ky, kz, Cin, Cout) -> (Cout, kx, ky, kz, Cin) where the expected shape says so, and which.

    Shapes decide, since versions written in files have been wrong (mmdetection3d issue 2584). Only where all five sizes
    are equal do both orders fit; then the rest of the file decides.
    """
    sparse = [name for name in tensors if name in expected and expected[name].ndim == tensors[name].ndim == 5]
    theirs = {name: tensors[name].permute(4, 0, 1, 2, 3) for name in sparse}
    theirs = {name: tensor for name, tensor in theirs.items() if tensor.shape == expected[name].shape}
    certain = [name for name in theirs if tensors[name].shape != expected[name].shape]
    permuted = tuple(theirs) if certain else ()
    return {**tensors, **{name: theirs[name] for name in permuted}}, permuted


def _converted(fit: Fit, layout: Layout) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights that fit, in our conventions and in float32, and what was done to them."""
    weights = {name: fit.weights[name] for name in fit.comparison.loaded}
    changes = {name: change for name, change in layout.conversions.items() if name in weights}
    weights |= {name: change(weights[name]) for name, change in changes.items()}
    other = [name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.dtype != torch.float32]
    weights |= {name: weights[name].float() for name in other}
    counts = {
        "sparse convolution weights from (kx, ky, kz, Cin, Cout)": len(fit.permuted),
        f"tensors of the box head: {layout.converted}": len(changes),
        "tensors to float32": len(other),
    }
    return weights, _counted(counts)


def _counted(counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{count} {what}" for what, count in counts.items() if count)


def _origins(plain: Mapping[str, str], layout: Layout, what: str) -> dict[str, str]:
    """Our name -> the file's, of all but constants; `plain` are the file's names -> the layout's."""
    origins: dict[str, str] = {}
    for name, theirs in plain.items():
        ours = layout.native_name(theirs)
        if ours in origins:
            raise InputError(what, "every weight once", f"{origins[ours]} and {name}, which are the same")
        if ours is not None:
            origins[ours] = name
    return origins
