"""How fast and small a dataset opens, beside the development kit: `python -m perception.sources.measure`.

On made-up tables as large as nuScenes' train and val together, in a temporary folder of 2.3 GB. Each opening happens in
a process of its own, whose imports aren't counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from perception.nuscenes import CAMERAS, CLASS_OF_CATEGORY, LIDAR

VERSION = "v1.0-made-up"
RADARS = tuple(f"RADAR_{place}" for place in ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK_LEFT", "BACK_RIGHT"))
BETWEEN = {LIDAR: 8, **dict.fromkeys(CAMERAS, 5), **dict.fromkeys(RADARS, 6)}  # recordings from keyframe to keyframe
SAMPLES_A_SCENE, OBJECTS, TRACKS_A_SCENE = 40, 34, 76  # OBJECTS: annotations a sample
OPENING = """
import resource, sys, time
{imports}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter(), time.process_time()
opened = {call}
print(time.perf_counter() - start[0], time.process_time() - start[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
OURS = ("from perception.sources.nuscenes import Source", "Source(sys.argv[1])")
KIT = ("from nuscenes.nuscenes import NuScenes", f"NuScenes({VERSION!r}, sys.argv[1], verbose=False)")


def write_tables(root: Path, scenes: int) -> dict[str, int]:
    """Write a dataset's tables, without any image or cloud -> their numbers of rows."""
    folder = root / VERSION
    folder.mkdir(parents=True)
    (root / "maps").mkdir()
    (root / "maps" / "none.png").write_bytes(b"")
    tables = {**_fixed_tables(scenes), **_long_tables(scenes)}
    return {name: _write(folder / f"{name}.json", rows) for name, rows in tables.items()}


@lru_cache(100_000)  # rows are asked for by their neighbours too
def token(kind: str, *numbers: int) -> str:
    """A token that looks like nuScenes'."""
    return hashlib.md5(f"{kind} {numbers}".encode()).hexdigest()


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for count, row in enumerate(rows, start=1):
            file.write(("[\n" if count == 1 else ",\n") + json.dumps(row, separators=(",\n", ": ")))  # as nuScenes' are
        file.write("\n]")
    return count


def _fixed_tables(scenes: int) -> dict[str, Iterable[dict[str, Any]]]:
    channels = {name: name.partition("_")[0].lower().replace("cam", "camera") for name in BETWEEN}
    matrix = [[1266.4, 0.0, 816.3], [0.0, 1266.4, 491.5], [0.0, 0.0, 1.0]]
    place = {"translation": [1.7, 0.0, 1.5], "rotation": [0.5, -0.5, 0.5, -0.5]}
    named = {"description": ""}
    return {
        "category": [{"token": token("category", i), "name": n, **named} for i, n in enumerate(CLASS_OF_CATEGORY)],
        "attribute": [{"token": token("attribute", 0), "name": "vehicle.moving", **named}],
        "visibility": [{"token": "4", "level": "v80-100", **named}],
        "sensor": [{"token": token(n), "channel": n, "modality": kind} for n, kind in channels.items()],
        "log": [{"token": token("log"), "logfile": "", "vehicle": "", "date_captured": "", "location": "nowhere"}],
        "map": [{"token": token("map"), "log_tokens": [token("log")], "category": "", "filename": "maps/none.png"}],
        "scene": [
            {
                "token": token("scene", scene),
                "log_token": token("log"),
                "nbr_samples": SAMPLES_A_SCENE,
                "first_sample_token": token("sample", scene, 0),
                "last_sample_token": token("sample", scene, SAMPLES_A_SCENE - 1),
                "name": f"scene-{scene:04}",
                **named,
            }
            for scene in range(scenes)
        ],
        "calibrated_sensor": [
            {"token": token(n, scene), "sensor_token": token(n), **place}
            | {"camera_intrinsic": matrix if n in CAMERAS else []}
            for scene in range(scenes)
            for n in BETWEEN
        ],
    }


def _long_tables(scenes: int) -> dict[str, Iterable[dict[str, Any]]]:
    return {
        "sample": _samples(scenes),
        "sample_data": _recordings(scenes),
        "ego_pose": _poses(scenes),
        "instance": _instances(scenes),
        "sample_annotation": _annotations(scenes),
    }


def _neighbours(kind: str, number: int, count: int, *before: int) -> dict[str, str]:
    return {
        "prev": token(kind, *before, number - 1) if number else "",
        "next": token(kind, *before, number + 1) if number + 1 < count else "",
    }


def _samples(scenes: int) -> Iterator[dict[str, Any]]:
    for scene in range(scenes):
        for number in range(SAMPLES_A_SCENE):
            row = {"token": token("sample", scene, number), "timestamp": _stamp(scene, number)}
            yield {**row, **_neighbours("sample", number, SAMPLES_A_SCENE, scene), "scene_token": token("scene", scene)}


def _stamp(scene: int, sample: float) -> int:
    return 1_533_000_000_000_000 + scene * 30_000_000 + int(sample * 500_000)


def _each_recording(scenes: int) -> Iterator[tuple[int, str, int]]:
    for scene in range(scenes):
        for channel, between in BETWEEN.items():
            for number in range(SAMPLES_A_SCENE * (between + 1)):
                yield scene, channel, number


def _recordings(scenes: int) -> Iterator[dict[str, Any]]:
    for scene, channel, number in _each_recording(scenes):
        every = BETWEEN[channel] + 1
        stamp, image = _stamp(scene, number / every), channel in CAMERAS
        yield {
            "token": token(channel, scene, number),
            "sample_token": token("sample", scene, number // every),
            "ego_pose_token": token(channel, scene, number),
            "calibrated_sensor_token": token(channel, scene),
            "timestamp": stamp,
            "fileformat": "jpg" if image else "pcd",
            "is_key_frame": number % every == 0,
            "height": 900 if image else 0,
            "width": 1600 if image else 0,
            "filename": f"samples/{channel}/n015-2018-07-24-11-22-45+0800__{channel}__{stamp}.jpg",
            **_neighbours(channel, number, SAMPLES_A_SCENE * every, scene),
        }


def _poses(scenes: int) -> Iterator[dict[str, Any]]:
    for scene, channel, number in _each_recording(scenes):
        yield {
            "token": token(channel, scene, number),
            "timestamp": _stamp(scene, number / (BETWEEN[channel] + 1)),
            "rotation": [0.9238795325112867, 0.0012, -0.0034, 0.3826834323650898],
            "translation": [411.3039245880 + number / 10, 1180.8903791073, 0.0],
        }


def _instances(scenes: int) -> Iterator[dict[str, Any]]:
    for scene in range(scenes):
        for track in range(TRACKS_A_SCENE):
            yield {
                "token": token("instance", scene, track),
                "category_token": token("category", track % len(CLASS_OF_CATEGORY)),
                "nbr_annotations": SAMPLES_A_SCENE,
                "first_annotation_token": token("annotation", scene, track, 0),
                "last_annotation_token": token("annotation", scene, track, 0),
            }


def _annotations(scenes: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    for scene in range(scenes):
        for number in range(SAMPLES_A_SCENE):
            for track in range(OBJECTS):
                yield {
                    "token": token("annotation", scene, track, number),
                    "sample_token": token("sample", scene, number),
                    "instance_token": token("instance", scene, track),
                    "visibility_token": "4",
                    "attribute_tokens": [token("attribute", 0)],
                    "translation": rng.normal(1000, 300, 3).round(3).tolist(),
                    "size": [1.9, 4.6, 1.7],
                    "rotation": [0.9238795325112867, 0.0, 0.0, 0.3826834323650898],
                    **_neighbours("annotation", number, SAMPLES_A_SCENE, scene, track),
                    "num_lidar_pts": 12,
                    "num_radar_pts": 1,
                }


def opening(root: Path, imports: str, call: str) -> np.ndarray:
    """What an opening takes: seconds, those of them on a processor, and megabytes at its height (3,)."""
    script = OPENING.format(imports=imports, call=call)
    done = subprocess.run([sys.executable, "-c", script, str(root)], check=True, stdout=subprocess.PIPE, text=True)
    return np.array(list(map(float, done.stdout.split())))


def compare(root: Path) -> None:
    """Print what openings of a dataset take, ours and the development kit's, and their ratios."""
    takes = "{}: {:.2f} s, on a processor {:.2f} s, {:.0f} MB"
    print(takes.format("ours, first time", *opening(root, *OURS)), flush=True)
    ours = np.min([opening(root, *OURS) for _ in range(3)], axis=0)
    print(takes.format("ours, from the index", *ours), flush=True)
    kit = opening(root, *KIT)
    print(takes.format("development kit", *kit))
    print("{:.0f} times as fast, on a processor {:.0f} times, {:.1f} times as small".format(*kit / ours))


def main() -> None:
    """Make the tables, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=850, help="as many as trainval has")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        rows = write_tables(root, settings.scenes)
        print(", ".join(f"{count:,} {name}" for name, count in rows.items() if count > 1000))
        compare(root)


if __name__ == "__main__":
    main()
