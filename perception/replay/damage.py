"""Messages with broken contents or other stamps: their CDR is whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from perception.ros.codec import Codec, header_of, with_header_stamp
from perception.ros.fields import stamp_ns_of, time_message
from perception.ros.rig_file import POSE_KINDS

CLOUD, IMAGE, COMPRESSED = (f"sensor_msgs/msg/{name}" for name in ("PointCloud2", "Image", "CompressedImage"))
CLOCK = "rosgraph_msgs/msg/Clock"
TF, ODOMETRY = POSE_KINDS["tf"], POSE_KINDS["odometry"]
NAN_SHARE = 0.1
JPEG_QUALITY = 92

Damage = Callable[[Any, np.random.Generator], Any]


def _truncated(message: Any, rng: np.random.Generator) -> Any:
    """Any part of the data is lost at its end."""
    return replace(message, data=message.data[: rng.integers(len(message.data))])


def _with_nan(message: Any, rng: np.random.Generator) -> Any:
    """A tenth of the points have no x."""
    field = next(field for field in message.fields if field.name == "x")
    hit = np.flatnonzero(rng.random(message.width * message.height) < NAN_SHARE)
    rows, columns = np.divmod(hit, message.width)
    starts = rows * message.row_step + columns * message.point_step + field.offset
    order, width = (">" if message.is_bigendian else "<"), {7: 4, 8: 8}[field.datatype]
    data = message.data.copy()
    starts = starts[starts + width <= data.size]  # it may be cut short already
    data[starts[:, None] + np.arange(width)] = np.frombuffer(np.array(np.nan, f"{order}f{width}").tobytes(), np.uint8)
    return replace(message, data=data)


def _tf_with_nan(message: Any, rng: np.random.Generator) -> Any:
    """Every transform of the message is nowhere."""
    for placed in message.transforms:
        placed.transform.translation.x = np.nan
    return message


def _odometry_with_nan(message: Any, rng: np.random.Generator) -> Any:
    message.pose.pose.position.x = np.nan
    return message


def _halved(message: Any, rng: np.random.Generator) -> Any:
    """Every second row and column of raw pixels."""
    channels = message.step // max(message.width, 1)
    if message.data.size != message.height * message.step:  # it is cut short already
        return message
    rows = message.data.reshape(message.height, message.step)[:, : message.width * channels]
    pixels = rows.reshape(message.height, message.width, channels)[::2, ::2]
    height, width = pixels.shape[:2]
    return replace(message, height=height, width=width, step=width * channels, data=pixels.reshape(-1).copy())


def _compressed_halved(message: Any, rng: np.random.Generator) -> Any:
    """The same picture in half its size, compressed anew."""
    from PIL import Image

    file = io.BytesIO()
    try:
        with Image.open(io.BytesIO(message.data)) as image:
            size = max(image.width // 2, 1), max(image.height // 2, 1)
            image.resize(size).save(file, image.format, quality=JPEG_QUALITY)
    except OSError:  # it is broken already
        return message
    return replace(message, data=np.frombuffer(file.getvalue(), np.uint8))


def _of_bytes(damage: Damage, kind: str) -> Callable[[bytes, np.random.Generator], bytes]:
    def damaged(data: bytes, rng: np.random.Generator) -> bytes:
        codec = Codec()
        return codec.encode(damage(codec.decode(data, kind), rng))

    return damaged


_BY_KIND: dict[str, dict[str, Damage]] = {
    "truncate": dict.fromkeys((CLOUD, IMAGE, COMPRESSED), _truncated),
    "nan": {CLOUD: _with_nan, TF: _tf_with_nan, ODOMETRY: _odometry_with_nan},
    "resize": {IMAGE: _halved, COMPRESSED: _compressed_halved},
}
DAMAGES = {  # name -> kind of message -> its bytes, broken
    name: {kind: _of_bytes(damage, kind) for kind, damage in damages.items()} for name, damages in _BY_KIND.items()
}


def has_stamps(kind: str) -> bool:
    """Whether messages of this kind say when what they tell was so."""
    return kind == TF or Codec().has_header(kind)


def with_later_stamps(data: bytes, kind: str, later_ns: int, what: str) -> bytes:
    """The same message so much later; InputError where it is cut short."""
    if kind != TF:
        return with_header_stamp(data, header_of(data, what)[0] + later_ns)
    codec = Codec()
    message = codec.decode(data, kind, what)
    for placed in message.transforms:
        placed.header.stamp = time_message(codec.make, stamp_ns_of(placed) + later_ns)
    return codec.encode(message)


def moved_on(data: bytes, kind: str, later_ns: int, what: str) -> bytes:
    """The same message as it comes so much later: with later stamps, if it has any; of /clock the later time."""
    if kind != CLOCK:
        return with_later_stamps(data, kind, later_ns, what) if has_stamps(kind) else data
    codec = Codec()
    now = codec.decode(data, kind, what).clock
    return codec.encode(codec.make(kind, clock=time_message(codec.make, now.sec * 10**9 + now.nanosec + later_ns)))
