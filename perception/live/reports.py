"""What the node says: detections as JSON, `bevfuse-live-1`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perception.live.health import State
from perception.outputs.boxes_json import frame_record
from perception.types import Boxes3D

if TYPE_CHECKING:
    from perception.live.core import Work

FORMAT = "bevfuse-live-1"


@dataclass(frozen=True)
class Report:
    """Detections of a frame, or that there are none because nothing is seen."""

    stamp_ns: int
    epoch: int
    frame_id: str
    state: State
    boxes: Boxes3D | None = None  # None while blind
    records: tuple[Mapping[str, Any], ...] = ()  # the boxes as in boxes.json
    made_from: Mapping[str, int] = field(default_factory=dict)  # by sensor, when it measured [ns]
    latency_ms: Mapping[str, float] = field(default_factory=dict)  # by stage
    notes: tuple[str, ...] = ()

    def json(self) -> str:
        """All of it as text."""
        content = {
            "format": FORMAT,
            "stamp_ns": self.stamp_ns,
            "epoch": self.epoch,
            "frame": self.frame_id,
            "state": self.state.level.value,
            "missing": dict(self.state.lost),
            "made_from": dict(self.made_from),
            "boxes": list(self.records),
            "latency_ms": {name: round(value, 3) for name, value in self.latency_ms.items()},
            "notes": list(self.notes),
        }
        return json.dumps(content, allow_nan=False)


def detection_report(work: Work, boxes: Boxes3D, frame_id: str, state: State, now_s: float) -> Report:
    """Of a frame's detections, which are done at a time of the clock that durations are measured by."""
    stages = {
        "wait": work.out_s - work.arrived_s,
        "queue": work.taken_s - work.out_s,
        "frame": work.made_s - work.taken_s,
        "detect": now_s - work.made_s,
        "total": now_s - work.arrived_s,
    }
    return Report(
        work.frame.stamp_ns,
        work.epoch,
        frame_id,
        state,
        boxes,
        tuple(frame_record(work.frame, boxes)["boxes"]),
        work.made_from,
        {name: 1000 * seconds for name, seconds in stages.items()},
        work.frame.notes,
    )


def blind_report(stamp_ns: int, epoch: int, frame_id: str, state: State) -> Report:
    """That nothing is seen at a stamp."""
    return Report(stamp_ns, epoch, frame_id, state)
