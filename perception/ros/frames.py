"""The tree of coordinate frames that transforms on /tf and /tf_static make, as far as a detector asks it.

Sensors are bolted on: from the ego frame to theirs all transforms must be static. Between the world and the ego frame
some move, and the ego pose is known anew whenever the one nearest to the ego frame is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from calibration.transform import Transform
from perception.ros.fields import stamp_ns_of
from perception.ros.poses import transform_from_message
from perception.types import EgoPose


class FrameTree:
    """Every frame's parent, and where it last was in it."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Transform, bool]] = {}  # of a frame: its parent, parent_from_frame, static?

    def add(self, transforms: Iterable[Any], static: bool) -> list[tuple[str, int]]:
        """Take TransformStamped messages in -> the frames that they place, and when [ns].

        Raises InputError for bad numbers, and for a frame that gets a second parent or becomes its own ancestor.
        """
        placed = []
        for message in transforms:
            parent, child = message.header.frame_id.lstrip("/"), message.child_frame_id.lstrip("/")
            what = f"transform from {child} to {parent}"
            if child in self._parents and self._parents[child][0] != parent:
                raise InputError(what, f"one parent of {child}, {self._parents[child][0]}", "a second one")
            if child == parent or child in self._ancestors(parent):
                raise InputError(what, "a tree of frames", "a circle")
            self._parents[child] = parent, transform_from_message(message.transform, what), static
            placed.append((child, stamp_ns_of(message)))
        return placed

    def fixed(self, parent: str, frame: str) -> Transform:
        """`parent_from_frame` of two frames that don't move against each other.

        Raises InputError, naming the frames there are, where they aren't connected or something between them moves.
        """
        for name in (parent, frame):
            if name not in self.frames:
                got = ", ".join(sorted(self.frames)) or "no frame at all"
                raise InputError("frames of /tf", f"one named {name}", got, did_you_mean(name, self.frames))
        ours, theirs = self._ancestors(parent), self._ancestors(frame)
        meeting = next((name for name in theirs if name in ours), None)
        if meeting is None:
            raise InputError(f"transform from {frame} to {parent}", "static transforms between them", "none")
        return self._up(parent, meeting).inverse() @ self._up(frame, meeting)

    @property
    def frames(self) -> set[str]:
        """All names."""
        return set(self._parents) | {parent for parent, *_ in self._parents.values()}

    def chain(self, world: str, ego: str) -> list[str]:
        """The frames from the ego frame up to below the world; InputError where they don't lead there."""
        chain = self._ancestors(ego)
        if world not in chain:
            got = " in ".join(chain) if ego in self.frames else "no such frame"
            raise InputError(f"frames of /tf: {ego}", f"a way up to {world}", got, did_you_mean(world, self.frames))
        return chain[: chain.index(world)]

    def newest(self, world: str, ego: str) -> Transform:
        """`world_from_ego` by each transform's newest value; InputError where there is no way up."""
        world_from_ego = Transform.identity()
        for frame in self.chain(world, ego):
            world_from_ego = self._parents[frame][1] @ world_from_ego
        return world_from_ego

    def moves(self, frame: str) -> bool:
        """Whether a frame moves in its parent."""
        return not self._parents[frame][2]

    def _ancestors(self, frame: str) -> list[str]:
        """The frame itself, its parent, and so on."""
        found = [frame]
        while found[-1] in self._parents:
            found.append(self._parents[found[-1]][0])
        return found

    def _up(self, frame: str, ancestor: str) -> Transform:
        ancestor_from_frame = Transform.identity()
        while frame != ancestor:
            parent, parent_from_frame, static = self._parents[frame]
            if not static:
                what = f"transform from {frame} to {parent}"
                raise InputError(what, "a static one, for it is part of a sensor's mounting", "one that moves")
            frame, ancestor_from_frame = parent, parent_from_frame @ ancestor_from_frame
        return ancestor_from_frame


class TreePoses:
    """Ego poses out of the transforms that come."""

    def __init__(self, world: str, ego: str) -> None:
        self.world, self.ego = world, ego
        self.tree = FrameTree()

    def add(self, transforms: Iterable[Any], static: bool) -> Iterator[EgoPose]:
        """Take TransformStamped messages in -> the poses that are known by them."""
        for frame, stamp_ns in self.tree.add(transforms, static):
            if not static and frame == self._moving():
                yield EgoPose(stamp_ns, self.tree.newest(self.world, self.ego))

    def _moving(self) -> str | None:
        """The moving frame nearest to the ego's, None while there is no way up to the world."""
        try:
            return next((name for name in self.tree.chain(self.world, self.ego) if self.tree.moves(name)), None)
        except InputError:  # what is missing may come
            return None
