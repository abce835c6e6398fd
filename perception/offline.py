"""Detections of a whole source into a folder, frame after frame: what tools/detect.py does.

    OUT/boxes.json          every frame's boxes, see perception/outputs/boxes_json.py
    OUT/results_nusc.json   the same as a nuScenes submission, where every frame knows its pose
    OUT/TOKEN.png           one picture a frame

Work in progress lies in OUT.partial; OUT gets its files when the last frame is done. A run that was interrupted goes on
from there if it is started again with the same arguments.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calibration.errors import InputError
from calibration.files import make_folder, written_whole
from calibration.spelling import counted
from perception.config import DetectorConfig
from perception.detector import Detector
from perception.nuscenes import CAMERAS
from perception.outputs.boxes_json import frame_record, write_boxes
from perception.outputs.nuscenes_results import sample_results, write_results
from perception.outputs.pictures import draw_frame, write_png
from perception.sources import FrameOptions, Source
from perception.types import Boxes3D, Frame


@dataclass(frozen=True)
class OutputOptions:
    """What is written of each frame."""

    score_threshold: float = 0.0  # detections below it are left out of the files
    picture_threshold: float = 0.25  # and below this one of the pictures
    pictures: bool = True


def frame_options_of(
    config: DetectorConfig, *, cameras_too: bool, allow_missing: bool, truth: bool = True
) -> FrameOptions:
    """What frames must hold for this detector; `cameras_too` asks for nuScenes' six, to look at, if it needs none."""
    options = FrameOptions(CAMERAS if cameras_too else (), truth=truth, allow_missing=allow_missing)
    options = replace(options, class_names=config.classes)
    if config.cameras:
        options = replace(options, cameras=config.cameras)
    if config.points is not None:
        options = replace(options, sweeps=config.points.sweeps, remove_radius_m=config.points.remove_radius_m)
    return options


def identity_of(files: Sequence[Path], **arguments: Any) -> dict[str, Any]:
    """What tells a run from others: its arguments, and the size and time of change of the files it reads."""
    states = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
    return {"files": states, **arguments}


def detect_to_folder(
    detector: Detector,
    source: Source,
    out: Path,
    options: OutputOptions,
    identity: dict[str, Any],  # what this run is: JSON that tells it from others, so that no other run's work is reused
    progress: Callable[[Iterable[Frame], int], Iterable[Frame]],  # gets the frames still to do and their number
    say: Callable[[str], None],  # gets one sentence about whatever was dropped or left out
) -> int:
    """Run the detector over the source and write `out`; returns the number of frames.

    Raises InputError at the first frame that can't be read; what was done before it is kept for the next run.
    """
    out = out.resolve()  # through links, so that the work in progress lies on the same disk
    journal = Journal.open(out, identity)
    if journal.done:
        say(f"{journal.folder}: going on after {counted(len(journal.done), 'finished frame')}")
    try:
        remaining = source.without(journal.done)
        for frame in progress(remaining, len(remaining)):
            for note in frame.notes:
                say(f"frame {frame.token}: {note}")
            boxes = detector(frame)
            boxes = boxes.select(boxes.scores >= options.score_threshold)
            if options.pictures:
                picture = draw_frame(frame, boxes, options.picture_threshold)
                write_png(journal.folder / f"{file_name(frame.token)}.png", picture)
            journal.add(frame, boxes)
        for note in source.closing_notes:
            say(note)
    except BaseException as reason:
        journal.forget_if_empty()
        if journal.done and isinstance(reason, KeyboardInterrupt):
            done = counted(len(journal.done), "finished frame")
            say(f"{journal.folder}: {done} kept; the same command goes on from there")
        raise
    if not journal.done:
        journal.forget_if_empty()
        raise InputError(str(out), "a source with frames", "none")
    config = detector.config
    journal.publish(out, use_camera=bool(config.cameras), use_lidar=config.uses_lidar)
    return len(journal.done)


@dataclass(frozen=True)
class Journal:
    """The folder of work in progress: one line of `frames.jsonl` a finished frame."""

    folder: Path
    done: dict[str, None]  # tokens, in the order they were finished

    @property
    def lines(self) -> Path:
        return self.folder / "frames.jsonl"

    @staticmethod
    def open(out: Path, identity: dict[str, Any]) -> Journal:
        """The journal of this very run, with what it has done; another run's is thrown away."""
        folder = out.with_name(f"{out.name}.partial")
        label = folder / "run.json"
        text = json.dumps(identity, sort_keys=True, indent=1)
        if out.exists() and not (out.is_dir() and os.access(out, os.W_OK)):
            raise InputError(str(out), "a folder to write to", "a read-only one" if out.is_dir() else "a file")
        if folder.exists():
            if not label.is_file():
                raise InputError(str(folder), "a folder of unfinished work", "another folder", "move it away")
            if label.read_text(encoding="utf-8") != text:
                shutil.rmtree(folder)
        make_folder(folder, said_of=out)
        with written_whole(label) as beside:
            beside.write_text(text, encoding="utf-8")
        journal = Journal(folder, {})
        journal.drop_half_a_line()
        journal.done.update(dict.fromkeys(entry["token"] for entry in journal.entries()))
        return journal

    def entries(self) -> Iterator[dict[str, Any]]:
        """What was written, oldest first."""
        if self.lines.exists():
            with self.lines.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)

    def drop_half_a_line(self) -> None:
        """Forget the frame that was being noted when the last run was killed."""
        if self.lines.exists():
            content = self.lines.read_bytes()
            os.truncate(self.lines, content.rfind(b"\n") + 1)

    def add(self, frame: Frame, boxes: Boxes3D) -> None:
        """Note a frame as finished."""
        if frame.token in self.done:
            raise InputError(f"frame {frame.token}", "each token once", "it for the second time")
        results = sample_results(frame, boxes) if frame.world_from_ego is not None else None
        entry = {"token": frame.token, "frame": frame_record(frame, boxes), "results": results}
        try:
            with self.lines.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(entry) + "\n")
        except OSError as error:  # a full disk, for one
            raise InputError(str(self.lines), "a place to write to", error.strerror or type(error).__name__) from error
        self.done[frame.token] = None

    def publish(self, out: Path, *, use_camera: bool, use_lidar: bool) -> None:
        """Move everything to `out`, boxes.json last: where it is, all is there. InputError where that can't be done."""
        try:
            self._publish(out, use_camera, use_lidar)
        except OSError as error:
            fix = f"the finished work is in {self.folder}"
            raise InputError(str(out), "a folder to write to", error.strerror or type(error).__name__, fix) from error

    def _publish(self, out: Path, use_camera: bool, use_lidar: bool) -> None:
        write_boxes(self.folder / "boxes.json", (entry["frame"] for entry in self.entries()))
        names = [path.name for path in sorted(self.folder.glob("*.png"))]
        if all(entry["results"] is not None for entry in self.entries()):
            samples = ((entry["token"], entry["results"]) for entry in self.entries())
            write_results(self.folder / "results_nusc.json", samples, use_camera=use_camera, use_lidar=use_lidar)
            names.append("results_nusc.json")
        out.mkdir(parents=True, exist_ok=True)
        for stale in ("boxes.json", "results_nusc.json"):
            (out / stale).unlink(missing_ok=True)
        for name in [*names, "boxes.json"]:
            shutil.move(self.folder / name, out / name)  # `out` may be a disk of its own
        shutil.rmtree(self.folder)

    def forget_if_empty(self) -> None:
        """Leave no folder behind where no frame was finished."""
        if not self.done:
            shutil.rmtree(self.folder)


def file_name(token: str) -> str:
    """A token as a file name: tokens come from files, and must not lead elsewhere."""
    return re.sub(r"[^\w-]", "_", token) or "_"
