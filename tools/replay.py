"""Recorded drives as ROS 2 messages: into a bag, or onto topics, with faults if wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibration.spelling import counted
from perception.command import run, say, with_progress

Input = Annotated[Path, typer.Argument(metavar="INPUT", help="nuScenes root, or rosbag2 (folder, .mcap or .db3).")]
Version = Annotated[str | None, typer.Option(help="nuScenes version, such as v1.0-mini.")]
SceneName = Annotated[str | None, typer.Option(help="nuScenes scene, such as scene-0061.")]
Faults = Annotated[
    list[str] | None,
    typer.Option(
        help="KIND:TARGET:NUMBERS, again for more, such as kill:CAM_FRONT:2:5; see perception/replay/faults.py."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the faults that happen by chance.")]
Clock = Annotated[bool, typer.Option("--clock", help="/clock too, from a nuScenes root.")]


def bag(
    data: Input,
    out: Annotated[Path, typer.Option(help="Folder of the new rosbag2.")],
    version: Version = None,
    scene: SceneName = None,
    fault: Faults = None,
    seed: Seed = 0,
    clock: Clock = False,
    storage: Annotated[str, typer.Option(help="mcap or sqlite3.")] = "mcap",
) -> None:
    """Write a rosbag2.

    Example: python tools/replay.py bag /data/nuscenes --version v1.0-mini --scene scene-0061 --out scene-0061

    Then detect in it: python tools/detect.py configs/sim_fusion.yaml scene-0061 --rig configs/rigs/nuscenes_ros.yaml
    --out detections
    """
    from perception.replay.stream import faulty_stream
    from perception.ros.bags import write_bag

    stream = faulty_stream(data, version, scene, fault or (), seed, clock)
    count = write_bag(out, stream.topics, with_progress(stream, len(stream), "writing"), storage)
    print(f"{counted(count, 'message')}: {out}")


def play(
    data: Input,
    version: Version = None,
    scene: SceneName = None,
    fault: Faults = None,
    seed: Seed = 0,
    clock: Clock = False,
    rate: Annotated[float, typer.Option(min=0, help="2 is twice as fast as it was, 0 as fast as possible.")] = 1.0,
    times: Annotated[int, typer.Option(min=1, help="Play it so often, one after the other; clocks go on.")] = 1,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a subscriber at most.")] = 5.0,
) -> None:
    """Publish on ROS topics; needs rclpy.

    Example: python tools/replay.py play scene-0061 --rate 0.5 --fault kill:CAM_FRONT:2:5 --fault jitter:all:0.03
    """
    from perception.replay.play import paced
    from perception.replay.publish import Publisher, publish_all, ros_node
    from perception.replay.stream import Repeated, faulty_stream

    stream = Repeated(faulty_stream(data, version, scene, fault or (), seed, clock), times)
    with ros_node() as node:
        publisher = Publisher(node, stream.topics, say)
        if not publisher.wait_for_subscriber(wait):
            say(f"nobody listens after {wait:g} s; publishing all the same")
        count = publish_all(publisher, paced(with_progress(stream, len(stream), "playing"), rate))
        publisher.drain()
    print(counted(count, "message"))


COMMANDS = (bag, play)

if __name__ == "__main__":
    run(*COMMANDS, help="Recorded drives as ROS 2 messages. Example: python tools/replay.py bag ROOT --out BAG")
