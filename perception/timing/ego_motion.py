"""Where the car was at any stamp, from the poses that an odometry or a localisation sends.

Between two poses the car moves at constant velocity (translation linear, rotation at constant rate); so it does for a
short while after the newest and before the oldest. Where the poses don't reach, nothing is made up.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from copy import copy

import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform, interpolate
from perception.types import EgoPose

MS = 1_000_000  # ns
BASELINE_NS = 5 * MS  # real logs hold poses nanoseconds apart: their difference is no velocity
PoseAt = Callable[[int], Transform]  # stamp_ns -> world_from_ego then; InputError where that isn't known


class EgoMotion:
    """The poses of the last seconds."""

    def __init__(
        self,
        poses: int = 2000,  # kept at most
        max_extrapolation_ns: int = 100 * MS,  # at 1 m/s2 the car is then 5 mm off
        max_gap_ns: int = 1000 * MS,  # between two poses, for what lies between to be known
        jump_ns: int = 1000 * MS,  # stamps that go back by more, twice in a row, are of a clock that jumped
    ) -> None:
        if poses < 2 or min(max_extrapolation_ns, max_gap_ns, jump_ns) < 0:
            got = f"{poses}, {max_extrapolation_ns}, {max_gap_ns} and {jump_ns}"
            raise InputError("poses kept, extrapolation, gap and jump", "2 poses or more, times >= 0", got)
        self._capacity, self._jump_ns = poses, jump_ns
        self.max_extrapolation_ns, self.max_gap_ns = max_extrapolation_ns, max_gap_ns
        self.refused = 0  # poses that weren't finite or not newer than the newest
        self.jumps = 0
        self.forget()

    def forget(self) -> None:
        """Start anew, as at a new epoch of the synchroniser."""
        self._stamps_ns: list[int] = []
        self._poses: list[Transform] = []
        self._suspect: EgoPose | None = None

    def add(self, pose: EgoPose) -> bool:
        """Take the next pose; False, and counted, if it can't be used."""
        if not (np.isfinite(pose.world_from_ego.translation).all() and np.isfinite(pose.world_from_ego.rotation).all()):
            self.refused += 1
            return False
        if self._stamps_ns and self._is_off(pose.stamp_ns, self._stamps_ns[-1]):
            return self._doubt(pose)
        self.refused += self._suspect is not None
        self._suspect = None
        if self._stamps_ns and pose.stamp_ns <= self._stamps_ns[-1]:
            self.refused += 1
            return False
        self._append(pose)
        return True

    @property
    def newest_ns(self) -> int | None:
        """The stamp of the newest pose."""
        return self._stamps_ns[-1] if self._stamps_ns else None

    def copy(self) -> EgoMotion:
        """The poses as they are now: what is added later doesn't show in it."""
        same = copy(self)
        same._stamps_ns, same._poses = list(self._stamps_ns), list(self._poses)
        return same

    def world_from_ego_at(self, stamp_ns: int) -> Transform:
        """The pose at a stamp; raises InputError where the poses don't reach, or leave too wide a gap."""
        stamps_ns, stamp_ns = self._stamps_ns, int(stamp_ns)
        later = bisect_left(stamps_ns, stamp_ns)
        if later < len(stamps_ns) and stamps_ns[later] == stamp_ns:
            return self._poses[later]
        first, last = (later - 1, later) if 0 < later < len(stamps_ns) else self._ends(stamp_ns)
        start_ns, end_ns = stamps_ns[first], stamps_ns[last]
        if end_ns - start_ns > self.max_gap_ns:
            got = f"{stamp_ns} ns in a gap of {(end_ns - start_ns) / 1e9:.3f} s"
            raise InputError("ego pose", f"two poses within {self.max_gap_ns / 1e9:g} s around the stamp", got)
        fraction = (stamp_ns - start_ns) / (end_ns - start_ns)  # whole numbers first: since 1970 they fit no float
        return interpolate(self._poses[first], self._poses[last], fraction)

    def ego_t1_from_ego_t0(self, t1_ns: int, t0_ns: int) -> Transform:
        """What the ego frame at t0 is in the ego frame at t1: where things that stand still went."""
        return self.world_from_ego_at(t1_ns).inverse() @ self.world_from_ego_at(t0_ns)

    def camera_from_lidar(
        self, ego_from_camera: Transform, camera_ns: int, ego_from_lidar: Transform, lidar_ns: int
    ) -> Transform:
        """From the lidar frame at one stamp to the camera frame at another, as CameraImage wants it."""
        ego_t1_from_ego_t0 = self.ego_t1_from_ego_t0(camera_ns, lidar_ns)
        return ego_from_camera.inverse() @ ego_t1_from_ego_t0 @ ego_from_lidar

    def _ends(self, stamp_ns: int) -> tuple[int, int]:
        """The two poses to go on from, for a stamp before the oldest or after the newest."""
        stamps_ns = self._stamps_ns
        if not stamps_ns:
            raise InputError("ego pose", "poses around the stamp", "none yet")
        outside_ns = max(stamps_ns[0] - stamp_ns, stamp_ns - stamps_ns[-1])
        if outside_ns > self.max_extrapolation_ns:
            reach = f"{stamps_ns[0]} to {stamps_ns[-1]} ns, {self.max_extrapolation_ns / MS:g} ms outside"
            raise InputError("ego pose", f"a stamp from {reach} at most", f"{stamp_ns} ns")
        second = bisect_left(stamps_ns, stamps_ns[0] + BASELINE_NS)
        if second == len(stamps_ns):
            got = f"{len(stamps_ns)} within {(stamps_ns[-1] - stamps_ns[0]) / MS:g} ms"
            raise InputError("ego poses to go on from", f"two that are {BASELINE_NS / MS:g} ms apart", got)
        if stamp_ns < stamps_ns[0]:
            return 0, second
        return bisect_right(stamps_ns, stamps_ns[-1] - BASELINE_NS) - 1, len(stamps_ns) - 1

    def _is_off(self, stamp_ns: int, from_ns: int) -> bool:
        return abs(stamp_ns - from_ns) > self._jump_ns

    def _doubt(self, pose: EgoPose) -> bool:
        """A stamp far from the newest: wrong, or the first after a jump or a long silence; the next will tell."""
        suspect, self._suspect = self._suspect, pose
        if suspect is None or self._is_off(pose.stamp_ns, suspect.stamp_ns) or pose.stamp_ns <= suspect.stamp_ns:
            self.refused += suspect is not None
            return True
        self.forget()
        self.jumps += 1
        self._append(suspect)
        self._append(pose)
        return True

    def _append(self, pose: EgoPose) -> None:
        self._stamps_ns.append(int(pose.stamp_ns))
        self._poses.append(pose.world_from_ego)
        if len(self._poses) > self._capacity:
            del self._stamps_ns[0], self._poses[0]
