"""How well the live node keeps up on this machine, and whether it keeps its memory:

    python -m perception.live.measure configs/sim_fusion.yaml --data data/sim --scene scene-0001 --minutes 12

A player sends the scene at the pace at which it was driven, again and again; the node, started as tools/live.py starts
it, detects; this process hears what it says and looks at its memory. All on one machine, over ROS 2's middleware.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml

from calibration.files import write_atomically
from perception.command import Precision, PrecisionOption, run, say
from perception.memory import resident

CHECKOUT = Path(__file__).resolve().parents[2]
RIG = CHECKOUT / "configs" / "rigs" / "nuscenes_ros.yaml"
FASTDDS = RIG.with_name("fastdds.xml")
WARM_UP_S = 120.0  # of memory: what is computed with, and code that oneDNN compiles for each size, is kept
LOOK_EVERY_S, PATIENCE_S = 1.0, 10.0
FOR_EVER = 100_000  # times: the player is ended with the node
DETECTIONS, STRING = "/bevfuse/detections", "std_msgs/msg/String"
STAGES = ("wait", "queue", "frame", "detect", "total")


@dataclass
class Heard:
    """What the node said: when (monotonic clock [s]), of when [ns], and how long each stage took [ms]."""

    at_s: list[float] = field(default_factory=list)
    stamps_ns: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    latency_ms: list[dict[str, float]] = field(default_factory=list)
    resident_mb: list[tuple[float, float]] = field(default_factory=list)  # when [s], how much

    def take(self, text: str) -> None:
        """One message of /bevfuse/detections."""
        content = json.loads(text)
        self.at_s.append(time.monotonic())
        self.stamps_ns.append(content["stamp_ns"])
        self.states.append(content["state"])
        self.latency_ms.append(content["latency_ms"])

    def summary(self, keyframe_s: float) -> dict[str, Any]:
        """Rates, latencies and memory after warming up."""
        begin_s = self.at_s[0] + WARM_UP_S if self.at_s else 0.0
        rows = [row for row, at_s in enumerate(self.at_s) if at_s >= begin_s]
        if len(rows) < 2:
            return {"frames": len(rows)}
        stamps_ns = np.array(self.stamps_ns)[rows]
        gaps_s = np.diff(stamps_ns) / 1e9
        seconds = self.at_s[rows[-1]] - self.at_s[rows[0]]
        told = {
            "frames": len(rows),
            "seconds": round(seconds, 1),
            "hz": round((len(rows) - 1) / seconds, 2),
            "longest_gap_s": round(float(gaps_s.max()), 3),
            f"gaps_over_{keyframe_s:g}_s": int((gaps_s > keyframe_s + 0.01).sum()),
            "not_nominal": sum(self.states[row] != "nominal" for row in rows),
        }
        for stage in STAGES:
            values = [self.latency_ms[row][stage] for row in rows if stage in self.latency_ms[row]]
            if values:
                p50, p99, worst = np.percentile(values, (50, 99, 100))
                told[f"{stage}_ms"] = {"p50": round(p50, 1), "p99": round(p99, 1), "max": round(worst, 1)}
        return told | self._memory(begin_s)

    def _memory(self, begin_s: float) -> dict[str, Any]:
        """The node's memory in the first and in the last minute: a loaded machine's goes up and down."""
        times, amounts = np.array(self.resident_mb).T
        first = amounts[(times >= begin_s) & (times < begin_s + 60)]
        last = amounts[times >= times[-1] - 60]
        growth = float(np.median(last) / np.median(first) - 1)
        return {
            "resident_mb": {"first": round(float(np.median(first)), 1), "last": round(float(np.median(last)), 1)},
            "growth_percent": round(100 * growth, 2),
        }


def main(
    config: Annotated[Path, typer.Argument(help="Configuration (.yaml) with weights that come with the package.")],
    data: Annotated[Path, typer.Option(help="nuScenes root.")],
    scene: Annotated[str, typer.Option(help="nuScenes scene, such as scene-0061.")],
    version: Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-mini.")] = None,
    minutes: Annotated[float, typer.Option(min=3, help="How long; the first two aren't counted.")] = 12.0,
    precision: PrecisionOption = Precision.fp32,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to detect with.")] = None,
    keyframe: Annotated[float, typer.Option(help="Seconds between keyframes: longer gaps are counted.")] = 0.5,
    file: Annotated[Path | None, typer.Option("--json", help="File to write everything to.")] = None,
) -> None:
    """Play a scene to the live node and tell how it does."""
    from perception.replay.nuscenes import Drive
    from perception.replay.publish import check_rclpy

    check_rclpy()
    drive = Drive(data, version, scene)
    alone = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(1 + os.getpid() % 100)}
    os.environ.update(alone | {"FASTRTPS_DEFAULT_PROFILES_FILE": str(FASTDDS)})
    with tempfile.TemporaryDirectory() as folder:
        rig = rig_with_calibration(drive, Path(folder))
        chosen = ["--version", version] if version else []
        node = [CHECKOUT / "tools" / "live.py", config, "--rig", rig, "--precision", precision.value]
        node += ["--threads", threads] if threads else []
        play = [CHECKOUT / "tools" / "replay.py", "play", data, "--scene", scene, *chosen, "--times", FOR_EVER]
        with running(*node) as live, running(*play, "--wait", 120) as player:
            heard = listen(live, player, 60 * minutes)
    summary = heard.summary(keyframe)
    print(json.dumps(summary, indent=1))
    if file is not None:
        write_atomically(file, json.dumps({"summary": summary, "heard": asdict(heard)}))


def rig_with_calibration(drive: Any, folder: Path) -> Path:
    """The nuScenes rig file with this car's calibration, which the wheels of ROS have no message for."""
    drive.rig.save(folder / "calibration.json")
    content = yaml.safe_load(RIG.read_text()) | {"calibration": "calibration.json"}
    (folder / "rig.yaml").write_text(yaml.safe_dump(content))
    return folder / "rig.yaml"


@contextmanager
def running(*arguments: object) -> Any:
    """A Python program that is gone at the end of the block."""
    process = subprocess.Popen([sys.executable, *map(str, arguments)], cwd=CHECKOUT, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def listen(live: subprocess.Popen[bytes], player: subprocess.Popen[bytes], seconds: float) -> Heard:
    """What is said until the time is over, or one of both ends."""
    from rclpy.executors import SingleThreadedExecutor

    from perception.replay.publish import message_class, ros_node

    heard = Heard()
    with ros_node("bevfuse_measure") as node:
        node.create_subscription(message_class(STRING), DETECTIONS, lambda message: heard.take(message.data), 100)
        executor = SingleThreadedExecutor(context=node.context)
        executor.add_node(node)
        until_s, look_s = None, time.monotonic()
        while until_s is None or time.monotonic() < until_s:
            executor.spin_once(timeout_sec=0.1)
            if live.poll() is not None or player.poll() is not None:
                say("it ended before its time")
                break
            if heard.at_s and until_s is None:
                until_s = heard.at_s[0] + seconds
            if time.monotonic() >= look_s:
                heard.resident_mb.append((time.monotonic(), resident_mb(live.pid)))
                look_s += LOOK_EVERY_S
    return heard


def resident_mb(pid: int) -> float:
    """Memory of a process that is in the machine's [MB]."""
    return resident(Path(f"/proc/{pid}/status"))["VmRSS"] / 1e6


if __name__ == "__main__":
    run(main)
