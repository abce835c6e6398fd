"""The BEVFusion checkpoints of mit-han-lab (github.com/mit-han-lab/bevfusion): older names and older boxes.

Their code grew from an mmdetection3d before 1.0, where a box was (w, l, h) with a yaw counted clockwise from -y:
yaw = -yaw_then - pi / 2. Both can be moved into the last convolutions that predict sizes, sine and cosine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

from perception.checkpoints import mmdetection3d
from perception.checkpoints.layout import Layout

# To the names of mmdetection3d, from top to bottom; each rule sees what the ones above it made.
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^encoders\.camera\.backbone\.", "img_backbone."),
        (r"^encoders\.camera\.neck\.", "img_neck."),
        (r"^encoders\.camera\.vtransform\.", "view_transform."),
        (r"^encoders\.lidar\.backbone\.", "pts_middle_encoder."),
        (r"^fuser\.", "fusion_layer."),
        (r"^decoder\.backbone\.", "pts_backbone."),
        (r"^decoder\.neck\.", "pts_neck."),
        (r"^heads\.object\.", "bbox_head."),
        (r"^(bbox_head\.decoder\.\d+)\.self_attn\.", r"\1.self_attn.attn."),
        (r"^(bbox_head\.decoder\.\d+)\.multihead_attn\.", r"\1.cross_attn.attn."),
        (r"^(bbox_head\.decoder\.\d+)\.linear1\.", r"\1.ffn.layers.0.0."),
        (r"^(bbox_head\.decoder\.\d+)\.linear2\.", r"\1.ffn.layers.1."),
        (r"^(bbox_head\.decoder\.\d+)\.norm1\.", r"\1.norms.0."),
        (r"^(bbox_head\.decoder\.\d+)\.norm2\.", r"\1.norms.1."),
        (r"^(bbox_head\.decoder\.\d+)\.norm3\.", r"\1.norms.2."),
    )
)


def native_name(name: str) -> str | None:
    """Our name of a tensor called `name` there, or None if it is a constant that we derive."""
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return mmdetection3d.native_name(name)


def _length_first(rows: Tensor) -> Tensor:
    """(w, l, h, ...) -> (l, w, h, ...) along the first axis."""
    return rows[[1, 0, 2]]


def _counter_clockwise(rows: Tensor) -> Tensor:
    """Sine and cosine along the first axis: sin(-a - pi / 2) = -cos(a), cos(-a - pi / 2) = -sin(a)."""
    return -rows[[1, 0]]


def _unsupported(names: Iterable[str]) -> str | None:
    names = list(names)
    if not any(name.startswith("encoders.lidar.") for name in names):
        return "one without encoders.lidar, as for cameras only (CenterHead and LSS), which has no configuration here"
    if not any(name.startswith("heads.object.") for name in names):
        return "one without heads.object, as for map segmentation, which has no configuration here"
    return None


LAYOUT = Layout(
    name="mit-han-lab",
    marks=frozenset({"encoders"}),
    native_name=native_name,
    conversions={
        f"head.predictors.{head}.1.{kind}": conversion
        for head, conversion in (("dim", _length_first), ("rot", _counter_clockwise))
        for kind in ("weight", "bias")
    },
    converted="boxes from (w, l, h) and clockwise yaw to (l, w, h) and counter-clockwise yaw",
    unsupported=_unsupported,
)
