"""A rosbag2 (MCAP or SQLite) as frames, through the synchroniser that the live node has.

The bag is read twice. When it is opened, headers alone are read, and the synchroniser says which messages belong
together, by their stamps and the bag's times of receipt. Images and clouds are decoded when frames are asked for, in
the bag's order, so that a few frames are in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from copy import copy
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from calibration.errors import InputError
from perception.ros.bags import Bag
from perception.ros.moments import Moment
from perception.ros.rig_file import LiveRig, load_live_rig
from perception.sources import FrameOptions
from perception.sources.bag_frames import FrameMaker
from perception.sources.bag_index import BagIndex
from perception.types import Frame


class Source:
    """One frame a bundle of messages that has all sensors; with `allow_missing` also of those that lack some.

    Frames go by the LiDAR's stamps, which are their tokens. Sweeps are the clouds before a frame's. There is no truth.
    """

    def __init__(self, path: str | Path, options: FrameOptions | None = None, *, rig: str | Path | LiveRig) -> None:
        """Read all headers, poses and calibrations.

        Raises InputError for a rig (perception/ros/rig_file.py) that can't be used or doesn't fit, for a bag that is
        broken or lacks its topics, and where no frame would come of it.
        """
        self.options = options or FrameOptions()
        self.class_names = self.options.class_names
        self._rig = rig if isinstance(rig, LiveRig) else load_live_rig(rig)
        self._rig.check_sensors(self.options.cameras)
        self._bag = Bag(path)
        self._sensors = (self._rig.lidar, *self.options.cameras)
        self._index = BagIndex(self._bag, self._rig, self._sensors, self.options.allow_missing)
        self.files = self._bag.files if isinstance(rig, LiveRig) else (*self._bag.files, Path(rig))
        usable = self._index.usable(self.options.allow_missing)
        self._usable = self._wanted = frozenset(moment.token for moment in usable)
        if not self._wanted:
            expected = f"messages of {', '.join(self._sensors)} that belong together"
            raise InputError(str(path), expected, self._index.why_none(), "see sync and sensors in the rig")
        self.closing_notes = self._passed_notes(self._passed_at_the_end(), "after the last frame")

    def __len__(self) -> int:
        return len(self._wanted)

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in the order in which the live node would make them."""
        maker = FrameMaker(self._rig, self.options)
        passed, told = [], self._index.troubles()
        for moment, data in self._with_data():
            if moment.token in self._wanted:
                frame = maker.frame(moment, data, self._index.vehicle, self._index.motion)
                yield replace(frame, notes=(*told, *frame.notes, *self._passed_notes(passed, "before it")))
                told = ()
            elif moment.has_pose:
                maker.pass_by(moment, data, self._index.vehicle, self._index.motion)
            passed = [] if moment.token in self._usable else [*passed, moment]

    def _with_data(self) -> Iterator[tuple[Moment, dict[str, bytes]]]:
        """Every moment with the messages that frames need of it."""
        messages, held, number = enumerate(self._bag.messages(self._index.topics)), {}, -1
        needed = {place for moment in self._index.moments for place in self._needed(moment)}
        for moment in self._index.moments:
            while number < max(moment.payloads.values(), default=-1):
                number, message = next(messages)
                if number in needed:
                    held[number] = message.data
            yield moment, {name: held.pop(place) for name, place in moment.payloads.items() if place in held}

    def _needed(self, moment: Moment) -> list[int]:
        """Places of a moment's messages: all of a frame's, and the clouds between frames if they are sweeps."""
        if moment.token in self._wanted:
            return list(moment.payloads.values())
        is_sweep = self.options.lidar and self.options.sweeps > 0
        return [place for name, place in moment.payloads.items() if is_sweep and name == self._rig.lidar]

    def _passed_at_the_end(self) -> list[Moment]:
        """The moments behind the last frame's."""
        from_the_end = reversed(self._index.moments)
        return list(takewhile(lambda moment: moment.token not in self._usable, from_the_end))

    def _passed_notes(self, passed: list[Moment], where: str) -> tuple[str, ...]:
        """A note where more moments in a row than sensors' rates explain had too little to become a frame."""
        usual = self._index.usual_gap() - 1
        if len(passed) <= usual:
            return ()
        lacked = self._index.what_lacked(passed)
        return (f"{len(passed)} moments {where} gave no frame, where at most {usual} do as a rule: {lacked}.",)

    def without(self, tokens: Collection[str]) -> Source:
        """The same source less these frames."""
        rest = copy(self)
        rest._wanted = self._wanted - set(tokens)
        return rest
