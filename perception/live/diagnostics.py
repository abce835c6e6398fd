"""The node's state for those who watch it: what becomes diagnostic_msgs/msg/DiagnosticArray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perception.live.core import NodeCore
from perception.live.health import Level, State
from perception.live.hearing import POSES
from perception.live.tally import Tally
from perception.timing.lane import SensorCounts

OK, WARN, ERROR = 0, 1, 2
LEVELS = {Level.NOMINAL: OK, Level.DEGRADED: WARN, Level.BLIND: ERROR}
NAME = "bevfuse"


@dataclass(frozen=True)
class Status:
    """One line of diagnostics."""

    name: str
    level: int
    message: str
    values: Mapping[str, str]


def statuses(core: NodeCore) -> list[Status]:
    """Of the node, its stages, and each sensor."""
    now_ns, state, statistics = core.now()
    since_s = (now_ns - state.since_ns) / 1e9 if state.since_ns is not None else 0.0
    lost = ", ".join(state.lost)
    frames = {
        "detected": core.counts.detected,
        "partial": core.counts.partial,
        "passed_over": core.counts.passed_over,
        "overtaken": core.counts.overtaken,
        "rate_hz": core.frame_rate.rate_hz(now_ns),
        "made_from": ", ".join(core.made_from),
        "bundles_complete": statistics.complete,
        "bundles_partial": statistics.partial,
        "epoch": statistics.resets,
        "resets": statistics.resets,
    }
    found = [
        _status("health", LEVELS[state.level], str(state), state=state.level.value, missing=lost, since_s=since_s),
        _status("frames", OK, f"{core.counts.detected} detected", **frames),
        _status("latency", OK, "of the last frames", **core.latencies.summary()),
        _poses(core, now_ns, state),
    ]
    return found + [_sensor(core, name, counts, now_ns, state) for name, counts in statistics.sensors.items()]


def _poses(core: NodeCore, now_ns: int, state: State) -> Status:
    values = _told(core.tallies[core.rig.pose_topic], now_ns)
    values |= {"refused": core.hearing.motion.refused, "jumps": core.hearing.motion.jumps, "lost": POSES in state.lost}
    return _status("poses", *_verdict(core, POSES, state), **values)


def _sensor(core: NodeCore, name: str, counts: SensorCounts, now_ns: int, state: State) -> Status:
    settings = core.rig.sensors[name]
    tallies = [core.tallies[topic] for topic in (settings.topic, settings.camera_info) if topic in core.tallies]
    values = {key: getattr(counts, key) for key in COUNTS} | _told(tallies[0], now_ns)
    values["left_out"] = sum(tally.left_out for tally in tallies)
    values["last_error"] = next((tally.last_error for tally in tallies if tally.last_error), "")
    values["offset_ms"] = "" if counts.offset is None else counts.offset.offset_ns / 1e6
    values |= {"lost": core.health.is_lost(name), "policy": settings.missing}
    return _status(name, *_verdict(core, name, state), **values)


COUNTS = ("used", "duplicated", "late", "dropped", "unused", "jumped", "jumps", "waiting")


def _told(tally: Tally, now_ns: int) -> dict[str, Any]:
    age_ms = tally.age_ms(now_ns)
    return {
        "received": tally.received,
        "rate_hz": tally.rate_hz(now_ns),
        "age_ms": "" if age_ms is None else age_ms,
        "left_out": tally.left_out,
        "last_error": tally.last_error,
    }


def _verdict(core: NodeCore, name: str, state: State) -> tuple[int, str]:
    if name in state.lost:
        return (ERROR if core.health.must_not_lack(name) else WARN), state.lost[name]
    return OK, "lost, and ignored" if core.health.is_lost(name) else "in use"


def _status(name: str, level: int, message: str, **values: Any) -> Status:
    return Status(f"{NAME}: {name}", level, message, {key: _text(value) for key, value in values.items()})


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
