"""What belongs together, before images and clouds are read: a bundle, less what can't be placed in space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calibration.errors import InputError
from perception.timing.bundle import Bundle
from perception.timing.ego_motion import EgoMotion


@dataclass(frozen=True)
class Moment:
    """A bundle whose data isn't read yet."""

    token: str
    stamp_ns: int
    epoch: int
    payloads: Mapping[str, Any]  # by sensor, its message's: in a bag the place among all, live what came
    stamps_ns: Mapping[str, int]  # by sensor, when it measured
    missing: Mapping[str, str]  # why the other sensors aren't there
    has_pose: bool

    @property
    def is_complete(self) -> bool:
        return not self.missing


def moment_of(
    bundle: Bundle,
    motion: EgoMotion | None,  # None: nothing is known of it, and never mind
    unknown: Mapping[str, str],  # why sensors can't be used that aren't calibrated
    reaches_ns: Mapping[str, int],  # of sensors whose points have times: how far those may be from their stamp
) -> Moment:
    """The moment of a bundle; a sensor without an ego pose at its stamp, or its points', is missing."""
    stamps_ns = {name: bundle.stamp_of(name) for name in bundle.measurements}
    missing = {**bundle.missing, **unknown}
    for name, stamp_ns in stamps_ns.items() if motion is not None else ():
        if not knows_pose(motion, stamp_ns):
            missing[name] = "no ego pose is known at its stamp"
        elif name in reaches_ns:
            ends_ns = (stamp_ns - reaches_ns[name], stamp_ns + reaches_ns[name])
            if not all(knows_pose(motion, end_ns) for end_ns in ends_ns):
                missing[name] = "no ego pose is known for all of its points"
    return Moment(
        f"{bundle.epoch}-{bundle.stamp_ns}" if bundle.epoch else str(bundle.stamp_ns),
        bundle.stamp_ns,
        bundle.epoch,
        {name: bundle.measurements[name].payload for name in stamps_ns if name not in missing},
        stamps_ns,
        missing,
        motion is not None and knows_pose(motion, bundle.stamp_ns),
    )


def knows_pose(motion: EgoMotion, stamp_ns: int) -> bool:
    """Whether it is known where the car was at a stamp."""
    try:
        motion.world_from_ego_at(stamp_ns)
    except InputError:
        return False
    return True
