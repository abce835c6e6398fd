"""The nuScenes dataset, or any in its format, by our own reader: fast, and small in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np

from calibration.errors import InputError
from calibration.transform import Transform
from perception.nuscenes import LIDAR, scenes_of_split, splits_with
from perception.sources import FrameOptions
from perception.sources.clouds import Sweep, read_cloud
from perception.sources.images import Shot, read_cameras
from perception.sources.nuscenes_recordings import Recordings
from perception.sources.nuscenes_tables import Named, Sample, SampleData, Table, find_version
from perception.sources.nuscenes_truth import Annotations
from perception.types import CameraImage, Frame, PointCloud, Truth


class Source:
    """One frame a sample (keyframe), at the time of its LiDAR cloud.

    Each camera fires at its own time: its `camera_from_lidar` goes through the world frame, with the ego pose at either
    stamp. Velocities of the truth are those of the development kit; without any annotation there is no truth (None).
    """

    def __init__(
        self,
        path: str | Path,
        options: FrameOptions | None = None,
        *,
        version: str | None = None,  # may be left out where there is only one
        split: str | None = None,  # of scenes, see perception.nuscenes.scenes_of_split; None for all
        tokens: Sequence[str] | None = None,  # samples, in this order, instead of a split
    ) -> None:
        """Read the tables of `path`/`version`, no image and no cloud yet.

        Raises InputError for a missing version, table or field, tokens that lead nowhere, and an unknown split.
        """
        self.root, self.options = Path(path), options or FrameOptions()
        self.class_names = self.options.class_names
        self.closing_notes = ()
        self.folder = find_version(self.root, version)
        self.files = tuple(sorted(self.folder.glob("*.json")))
        self._samples, self.tokens = _choose_samples(self.folder, split, tokens)
        self._recordings = Recordings(self.folder, self._samples, self.options)
        self._annotations = None
        if self.options.truth:
            annotations = Annotations(self.folder, self._samples, self.class_names)
            self._annotations = annotations if len(annotations) else None

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[Frame]:
        """Scene after scene, each in time order, unless tokens were given."""
        return map(self.frame, self.tokens)

    def without(self, tokens: Collection[str]) -> Source:
        """The same source less these samples."""
        rest = copy(self)
        rest.tokens = tuple(token for token in self.tokens if token not in tokens)
        return rest

    def frame(self, token: str) -> Frame:
        """Read one sample's frame."""
        key = self._recordings.keyframe(token, LIDAR)
        world_from_lidar = self._recordings.world_from_sensor(key)
        cameras, notes = read_cameras(
            self.options.cameras, lambda name: self._shot(token, name, world_from_lidar), self.options.allow_missing
        )
        cloud, cloud_notes = self._cloud(key)
        return Frame(
            key.timestamp * 1000,
            token,
            cameras,
            cloud,
            self._recordings.ego_from_sensor(key),
            self._recordings.world_from_ego(key),
            self.truth(token),
            notes + cloud_notes,
        )

    def earlier_image(self, token: str, camera: str) -> CameraImage | None:
        """What a camera showed at the keyframe before this sample's, as this sample's frame would hold it.

        Its `camera_from_lidar` starts from this sample's lidar frame. None where the scene starts with this sample.
        """
        before = self._before.get(token)
        if before is None:
            return None
        world_from_lidar = self._recordings.world_from_sensor(self._recordings.keyframe(token, LIDAR))
        images, _ = read_cameras(
            (camera,), lambda name: self._shot(before, name, world_from_lidar), self.options.allow_missing
        )
        return images.get(camera)

    @cached_property
    def _before(self) -> dict[str, str]:
        """The sample before each, for all but the first of every scene."""
        order = np.argsort(self._samples.column("timestamp"), kind="stable")
        tokens, scenes = (self._samples.objects(name, order) for name in ("token", "scene_token"))
        before, last = {}, {}
        for token, scene in zip(tokens, scenes, strict=True):
            if scene in last:
                before[token] = last[scene]
            last[scene] = token
        return before

    def truth(self, token: str) -> Truth | None:
        """One sample's truth alone: no image and no cloud is read."""
        if self._annotations is None:
            return None
        world_from_lidar = self._recordings.world_from_sensor(self._recordings.keyframe(token, LIDAR))
        return self._annotations.truth(token, world_from_lidar.inverse())

    def _shot(self, token: str, camera: str, world_from_lidar: Transform) -> Shot:
        row = self._recordings.keyframe(token, camera)
        camera_from_world = self._recordings.world_from_sensor(row).inverse()
        intrinsics = self._recordings.intrinsics(row)
        return Shot((self.root / row.filename,), row.timestamp * 1000, intrinsics, camera_from_world @ world_from_lidar)

    def _cloud(self, key: SampleData) -> tuple[PointCloud | None, tuple[str, ...]]:
        if not self.options.lidar:
            return None, ()
        previous = self._recordings.before(key, self.options.sweeps)
        return read_cloud(self._sweep(key), [self._sweep(row) for row in previous], self.options)

    def _sweep(self, row: SampleData) -> Sweep:
        return Sweep((self.root / row.filename,), row.timestamp * 1000, self._recordings.world_from_sensor(row))


def _choose_samples(
    folder: Path, split: str | None, tokens: Sequence[str] | None
) -> tuple[Table[Sample], tuple[str, ...]]:
    """All samples of the scenes that are needed, and the chosen ones' tokens in the order of the frames."""
    if split is not None and tokens is not None:
        raise InputError("frames to read", "a split or tokens", "both")
    if tokens is not None and len(set(tokens)) < len(tokens):
        raise InputError("samples to read", "each token once", ", ".join(tokens))
    scenes, samples = Table(folder, "scene", Named), Table(folder, "sample", Sample)
    if tokens is not None:
        for token in tokens:
            if token not in samples:
                expected = f"a sample with token {token!r}"
                raise InputError(str(samples.path), expected, "none", "take the token of a row of this file")
        needed = {samples[token].scene_token for token in tokens}
    else:
        names = {scene.name for scene in scenes} if split is None else scenes_of_split(folder, split)
        needed = {scene.token for scene in scenes if scene.name in names}
    of_scenes = samples.follow_surely("scene_token", scenes)
    picked = np.array([scene.token in needed for scene in scenes], bool)[of_scenes]
    samples, of_scenes = samples.where(picked), of_scenes[picked]
    if tokens is None:
        tokens = samples.objects("token", np.lexsort((samples.column("timestamp"), of_scenes)))
    if not tokens:
        fix = "" if split is None else splits_with(folder, {scene.name for scene in scenes})
        raise InputError(f"{folder}: samples of split {split or 'all'}", "at least one", "none", fix)
    return samples, tuple(tokens)
