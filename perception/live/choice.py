"""Which of the moments that wait becomes the next frame.

The newest that is whole: that has every sensor but those that are lost or to be ignored. Sensors of different rates
make every other moment lack some that live. Such a one is taken only where no whole one is nearly as new, and none was
taken for a while: a sensor that has just died isn't known to be lost yet.
"""

from __future__ import annotations

from collections.abc import Sequence

from perception.live.health import Health
from perception.ros.moments import Moment

Place = tuple[int, int]  # epoch, stamp [ns]


def next_frame(
    moments: Sequence[Moment],  # oldest first
    health: Health,
    last: Place | None,  # of the last frame
    patience_ns: int,  # what "nearly" and "a while" are
    needs_pose: bool,
) -> int | None:
    """The place of the next frame among the moments, None if it isn't there yet."""
    usable = [number for number, moment in enumerate(moments) if _is_usable(moment, health, needs_pose)]
    if not usable:
        return None
    newest = _place(moments[usable[-1]])
    whole = [number for number in usable if not _awaited(moments[number], health)]
    if whole and _is_near(_place(moments[whole[-1]]), newest, patience_ns):
        return whole[-1]
    return None if last is not None and _is_near(last, newest, patience_ns) else usable[-1]


def is_whole(moment: Moment, health: Health, needs_pose: bool) -> bool:
    """Whether it has all that can be hoped for."""
    return _is_usable(moment, health, needs_pose) and not _awaited(moment, health)


def _is_usable(moment: Moment, health: Health, needs_pose: bool) -> bool:
    if needs_pose and not moment.has_pose:
        return False
    sees = any(name in moment.payloads for name in health.eyes)
    return sees and not any(map(health.must_not_lack, _awaited(moment, health)))


def _awaited(moment: Moment, health: Health) -> list[str]:
    return [name for name in moment.missing if not health.forgiven(name)]


def _place(moment: Moment) -> Place:
    return moment.epoch, moment.stamp_ns


def _is_near(earlier: Place, later: Place, patience_ns: int) -> bool:
    return earlier[0] == later[0] and later[1] - earlier[1] < patience_ns
