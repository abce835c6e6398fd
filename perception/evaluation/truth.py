"""What there was to find: the annotations of a split of a nuScenes dataset, as scoring needs them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.evaluation.boxes import SampleBoxes
from perception.evaluation.definition import ATTRIBUTE_NAMES, RACK_CATEGORY
from perception.nuscenes import CLASS_NAMES, LIDAR, scenes_of_split, splits_with
from perception.sources import FrameOptions
from perception.sources.nuscenes_recordings import Recordings
from perception.sources.nuscenes_tables import Sample, Table, find_version
from perception.sources.nuscenes_truth import Annotations


class Scene(NamedTuple):
    token: str
    name: str
    description: str


class Visibility(NamedTuple):
    token: str
    level: str  # such as "v40-60": how much of the object shows in the cameras [%]


@dataclass(frozen=True)
class Subset:
    """Which samples of a split; the default is all of them."""

    samples: tuple[str, ...] = ()  # tokens
    scenes: tuple[str, ...] = ()  # names
    limit: int | None = None  # only the first ones

    @property
    def whole(self) -> bool:
        return not self.samples and not self.scenes and self.limit is None


@dataclass(frozen=True)
class Racks:
    """Bicycle racks: a corner of each and the edges that leave it."""

    samples: np.ndarray  # (R,) int64
    corners: np.ndarray  # (R, 3) [m] world frame
    edges: np.ndarray  # (R, 3, 3) [m] the three edges as rows

    def contain(self, racks: np.ndarray, points_world: np.ndarray) -> np.ndarray:
        """Whether each point (P, 3) lies in the rack of that number (P,), faces included -> (P,) bool."""
        along = np.einsum("pik,pk->pi", self.edges[racks], points_world - self.corners[racks])
        whole = (self.edges[racks] ** 2).sum(axis=2)
        return ((along >= 0) & (along <= whole)).all(axis=1)


@dataclass(frozen=True)
class Truth:
    """The samples to score, in the order of the dataset's table, and their annotations of CLASS_NAMES."""

    folder: Path  # of the version's tables
    split: str
    subset: Subset
    tokens: tuple[str, ...]
    all_tokens: frozenset[str]  # of the whole dataset
    scenes: tuple[Scene, ...]  # of each sample
    ego_world: np.ndarray  # (samples, 3) [m] where the ego vehicle is when the LiDAR's cloud is complete
    objects: SampleBoxes
    points: np.ndarray  # (N,) int64, LiDAR and radar returns from each object
    visibility: tuple[str, ...]  # (N,) level of each object, "" where it has none
    instances: tuple[str, ...]  # (N,) track of each object
    racks: Racks


def load_truth(root: str | Path, version: str | None, split: str, subset: Subset | None = None) -> Truth:
    """Read the tables of `root`/`version`.

    Raises InputError for what is missing or leads nowhere in them, and for a split or subset without samples or without
    annotations.
    """
    folder, subset = find_version(Path(root), version), subset or Subset()
    every, scenes = Table(folder, "sample", Sample), Table(folder, "scene", Scene)
    chosen = _chosen(folder, every, scenes, split, subset)
    needed = {sample.scene_token for sample in chosen}
    samples = every.where(lambda sample: sample.scene_token in needed)  # whole scenes: velocities look around
    annotations = Annotations(folder, samples, CLASS_NAMES, every)
    tokens = tuple(sample.token for sample in chosen)
    places = np.concatenate([annotations.places(token) for token in tokens])
    table = annotations.table
    if not len(annotations):
        raise InputError(f"{folder}: annotations of split {split}", "at least one to score against", "none")
    levels = _levels(folder, visibility := table.objects("visibility_token", places))
    return Truth(
        folder,
        split,
        subset,
        tokens,
        frozenset(sample.token for sample in every),
        tuple(scenes[sample.scene_token] for sample in chosen),
        _ego_positions(folder, samples, tokens),
        _objects(annotations, places, tokens),
        (table.column("num_lidar_pts", places) + table.column("num_radar_pts", places)).astype(np.int64),
        tuple(levels[token] for token in visibility),
        tuple(table.objects("instance_token", places)),
        _racks(annotations, tokens),
    )


def _chosen(folder: Path, every: Table[Sample], scenes: Table[Scene], split: str, subset: Subset) -> list[Sample]:
    in_split = scenes_of_split(folder, split)
    chosen = [sample for sample in every if scenes[sample.scene_token].name in in_split]
    if not chosen:
        fix = splits_with(folder, {scene.name for scene in scenes})
        raise InputError(f"{folder}: samples of split {split}", "at least one", "none", fix)
    _check_known("scene", subset.scenes, {scenes[sample.scene_token].name for sample in chosen}, split)
    _check_known("sample", subset.samples, {sample.token for sample in chosen}, split)
    if subset.scenes:
        chosen = [sample for sample in chosen if scenes[sample.scene_token].name in subset.scenes]
    if subset.samples:
        chosen = [sample for sample in chosen if sample.token in subset.samples]
    chosen = chosen[: subset.limit]
    if not chosen:
        raise InputError(f"{folder}: samples of split {split} in this subset", "at least one", "none")
    return chosen


def _check_known(what: str, asked: Sequence[str], known: Collection[str], split: str) -> None:
    for name in asked:
        if name not in known:
            fix = did_you_mean(name, known) if what == "scene" else "see sample.json"
            raise InputError(what, f"one of the {len(known)} of split {split}", repr(name), fix)


def _ego_positions(folder: Path, samples: Table[Sample], tokens: Sequence[str]) -> np.ndarray:
    recordings = Recordings(folder, samples, FrameOptions(cameras=(), sweeps=0))
    poses = [recordings.world_from_ego(recordings.keyframe(token, LIDAR)) for token in tokens]
    return np.array([pose.translation for pose in poses])


def _levels(folder: Path, tokens: Sequence[str]) -> dict[str, str]:
    """The visibility level of each token that occurs."""
    table = Table(folder, "visibility", Visibility)
    return {token: table[token].level if token else "" for token in set(tokens)}


def _objects(annotations: Annotations, places: np.ndarray, tokens: Sequence[str]) -> SampleBoxes:
    table = annotations.table
    boxes = annotations.boxes_world(places)
    flat = np.flatnonzero(~(np.asarray(boxes.sizes) > 0).all(axis=1))
    if len(flat):
        row = table.at(places[flat[0]])
        raise InputError(f"{table.path}: size of {row.token}", "three sizes > 0", f"{row.size}")
    names = annotations.attributes(places)
    for name in set(names) - {"", *ATTRIBUTE_NAMES}:
        raise InputError(f"{table.path}: attribute", "a nuScenes attribute", repr(name))
    codes = [ATTRIBUTE_NAMES.index(name) if name else -1 for name in names]
    return SampleBoxes(_numbers_of_samples(annotations, places, tokens), boxes, np.array(codes, np.int64))


def _numbers_of_samples(annotations: Annotations, places: np.ndarray, tokens: Sequence[str]) -> np.ndarray:
    """The sample of each of these annotations, by its number in `tokens` (rows,) int64."""
    number = {token: index for index, token in enumerate(tokens)}
    return np.array([number[token] for token in annotations.table.objects("sample_token", places)], np.int64)


def _racks(annotations: Annotations, tokens: Sequence[str]) -> Racks:
    from scipy.spatial.transform import Rotation

    places = annotations.others(RACK_CATEGORY)
    chosen = set(tokens)
    inside = [token in chosen for token in annotations.table.objects("sample_token", places)]
    places = places[np.array(inside, bool)]
    if not len(places):
        return Racks(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3, 3)))
    quaternions = annotations.numbers(places, "rotation", 4, nonzero=True)
    axes = Rotation.from_quat(np.roll(quaternions, -1, axis=1)).as_matrix().transpose(0, 2, 1)  # as rows
    lengths = annotations.numbers(places, "size", 3)[:, [1, 0, 2], None]  # from width, length, height
    edges = axes * lengths
    corners = annotations.numbers(places, "translation", 3) - edges.sum(axis=1) / 2
    return Racks(_numbers_of_samples(annotations, places, tokens), corners, edges)
