"""mmdetection3d's info files (.pkl, info_version 1.1) of nuScenes: tables, truth and calibration in one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from copy import copy
from numbers import Integral
from pathlib import Path

import numpy as np

from calibration.camera import Intrinsics
from calibration.errors import InputError
from perception.nuscenes import IMAGE_SIZE, LIDAR
from perception.pickles import load_pickle
from perception.sources import FrameOptions, MissingDataError
from perception.sources.clouds import Sweep, read_cloud
from perception.sources.entry import Entry
from perception.sources.images import Shot, read_cameras
from perception.types import Boxes3D, Frame, PointCloud, Truth

INFO_VERSION = "1.1"
NO_CLASS = -1  # the label of boxes whose category the file has no class for


class Source:
    """One frame an entry of `data_list`, in the file's order.

    The file's `lidar2cam` already includes the ego motion between the cloud's stamp and the image's. Images and clouds
    lie beside the info file, or in `samples/<sensor>` and `sweeps/<sensor>` there. Boxes that the file calls invalid,
    since no point is in them, are part of the truth, as they are in the nuScenes tables. A file without any box, as of
    a test set, has no truth (None).
    """

    def __init__(self, path: str | Path, options: FrameOptions | None = None) -> None:
        """Read the info file without running anything in it; InputError if it isn't one of version 1.1."""
        self.path, self.options = Path(path), options or FrameOptions()
        self.files = (self.path,)
        self.class_names = self.options.class_names
        self.closing_notes = ()
        content = Entry(load_pickle(path, "an mmdetection3d info file"), str(path))
        meta = content.entry("metainfo")
        version = meta.value("info_version", str)
        if version != INFO_VERSION:
            fix = "make it anew with mmdetection3d's tools/create_data.py"
            raise InputError(f"{path}: metainfo: info_version", INFO_VERSION, version, fix)
        self._is_nuscenes = "dataset" in meta and meta.value("dataset", str) == "nuscenes"
        self._categories = {label: name for name, label in meta.value("categories", dict).items()}
        rows = content.value("data_list", list)
        self._entries = [Entry(row, f"{path}: data_list[{number}]") for number, row in enumerate(rows)]
        tokens = [entry.value("token", str) for entry in self._entries]
        twice = next((token for token, count in Counter(tokens).items() if count > 1), None)
        if twice is not None:
            raise InputError(f"{path}: data_list", "each token once", f"{twice} more than once")
        self._is_annotated = any(isinstance(row, dict) and row.get("instances") for row in rows)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Frame]:
        return map(self._frame, self._entries)

    def without(self, tokens: Collection[str]) -> Source:
        """The same source less these entries."""
        rest = copy(self)
        rest._entries = [entry for entry in self._entries if entry.value("token", str) not in tokens]
        return rest

    def _frame(self, entry: Entry) -> Frame:
        allow_missing = self.options.allow_missing
        cameras, notes = read_cameras(self.options.cameras, lambda name: self._shot(entry, name), allow_missing)
        cloud, cloud_notes = self._cloud(entry) if self.options.lidar else (None, ())
        return Frame(
            _stamp_ns(entry),
            entry.value("token", str),
            cameras,
            cloud,
            entry.entry("lidar_points").transform("lidar2ego"),
            entry.transform("ego2global"),
            self._truth(entry) if self.options.truth and self._is_annotated else None,
            notes + cloud_notes,
        )

    def _shot(self, entry: Entry, name: str) -> Shot:
        images = entry.entry("images") if "images" in entry else None
        if images is None or name not in images:
            raise MissingDataError(f"{entry.place}: images", f"a camera {name}", "none")
        camera = images.entry(name)
        width, height = self._image_size(camera)
        return Shot(
            self._candidates(camera.value("img_path", str), f"samples/{name}"),
            _stamp_ns(camera),
            Intrinsics.from_matrix(camera.value("cam2img", object), width, height, what=f"{camera.place}: cam2img"),
            camera.transform("lidar2cam"),
        )

    def _image_size(self, camera: Entry) -> tuple[int, int]:
        if self._is_nuscenes and "width" not in camera:
            return IMAGE_SIZE
        return camera.value("width", Integral), camera.value("height", Integral)

    def _cloud(self, entry: Entry) -> tuple[PointCloud | None, tuple[str, ...]]:
        sweeps = entry.entries("lidar_sweeps") if "lidar_sweeps" in entry else []
        return read_cloud(self._sweep(entry), [self._sweep(sweep) for sweep in sweeps], self.options)

    def _sweep(self, entry: Entry) -> Sweep:
        lidar = entry.entry("lidar_points")
        paths = self._candidates(lidar.value("lidar_path", str), f"samples/{LIDAR}", f"sweeps/{LIDAR}")
        return Sweep(paths, _stamp_ns(entry), entry.transform("ego2global") @ lidar.transform("lidar2ego"))

    def _candidates(self, path: str, *folders: str) -> tuple[Path, ...]:
        beside = self.path.parent
        return (beside / path, *(beside / folder / Path(path).name for folder in folders))

    def _truth(self, entry: Entry) -> Truth:
        rows = [row for row in entry.entries("instances") if self._class_name(row) in self.class_names]
        labels = [self.class_names.index(self._class_name(row)) for row in rows]
        boxes = np.array([row.numbers("bbox_3d", (7,)) for row in rows]).reshape(-1, 7)  # x y z, l w h, yaw
        velocities = np.array([row.numbers("velocity", (2,), finite=False) for row in rows]).reshape(-1, 2)
        boxes = Boxes3D(
            boxes[:, :3],
            boxes[:, 3:6],
            boxes[:, 6],
            velocities,
            np.ones(len(rows)),
            np.array(labels, np.int64),
            self.class_names,
        )
        counts = [[row.value(f"num_{sensor}_pts", Integral) for row in rows] for sensor in ("lidar", "radar")]
        return Truth(boxes, *np.array(counts, np.int64))

    def _class_name(self, row: Entry) -> str | None:
        label = row.value("bbox_label_3d", Integral)
        if label == NO_CLASS:
            return None
        if label not in self._categories:
            raise InputError(f"{row.place}: bbox_label_3d", f"one of {sorted(self._categories)} or -1", f"{label}")
        return self._categories[label]


def _stamp_ns(entry: Entry) -> int:
    """Files hold seconds as a float, which is good for whole microseconds and no more."""
    return round(float(entry.numbers("timestamp")) * 1e6) * 1000
