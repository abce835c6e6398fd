"""What each detector sees in the same frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.spelling import counted
from perception.evaluation.misses import Tally, WorkingPoint, tally, working_points
from perception.evaluation.pictures import detections_at, jpeg_address
from perception.evaluation.scoring import Scores
from perception.evaluation.truth import Truth
from perception.outputs.drawing.bird_view import draw_bird_view
from perception.outputs.pictures import draw_frame
from perception.sources import FrameOptions
from perception.sources.nuscenes import Source
from perception.types import Frame

SIDE = 640  # px, of a scene from above


@dataclass(frozen=True)
class View:
    """A scene from above with one detector's boxes."""

    title: str
    image: str  # `data:` address
    objects: int  # that count: within their class's range, and with a point on them
    found: int
    false_alarms: int

    @property
    def told(self) -> str:
        """The numbers in words, for title and caption alike."""
        found = f"{self.found} of {counted(self.objects, 'object')} that count found"
        return f"{found}, {counted(self.false_alarms, 'false alarm')}"


@dataclass(frozen=True)
class SceneViews:
    """A frame as all detectors see it."""

    scene: str
    token: str
    whole: str  # `data:` address: the cameras and the scene from above, with the last detector's boxes
    annotated: int  # objects, drawn white; more than those that count
    views: tuple[View, ...]


def draw_scenes(truth: Truth, scores: Mapping[str, Scores]) -> list[SceneViews]:
    """One frame of each scene: where the last of the detectors, by their titles, gains most over the first."""
    points = {title: working_points(one) for title, one in scores.items()}
    tallies = {title: tally(one, points[title], len(truth.tokens)) for title, one in scores.items()}
    samples = _chosen(truth, list(tallies.values()))
    tokens = [truth.tokens[sample] for sample in samples]
    frames = Source(truth.folder.parent, FrameOptions(sweeps=0), version=truth.folder.name, tokens=tokens)
    return [
        _drawn(frame, sample, truth, scores, points, tallies) for frame, sample in zip(frames, samples, strict=True)
    ]


def _chosen(truth: Truth, tallies: list[Tally]) -> list[int]:
    gain = (tallies[-1].found - tallies[-1].false_alarms) - (tallies[0].found - tallies[0].false_alarms)
    scenes = np.array([scene.token for scene in truth.scenes])
    rows = [np.flatnonzero(scenes == token) for token in dict.fromkeys(scenes)]
    return sorted(int(of_scene[np.argmax(gain[of_scene])]) for of_scene in rows)


def _drawn(
    frame: Frame,
    sample: int,
    truth: Truth,
    scores: Mapping[str, Scores],
    points: Mapping[str, Mapping[str, WorkingPoint]],
    tallies: Mapping[str, Tally],
) -> SceneViews:
    lidar_from_world = (frame.world_from_ego @ frame.ego_from_lidar).inverse()
    boxes = {title: detections_at(sample, scores[title], points[title], lidar_from_world) for title in scores}
    views = []
    for title, shown in boxes.items():
        panel = draw_bird_view(SIDE, frame.cloud.points, shown, frame.truth.boxes, frame.ego_from_lidar)
        counts = tallies[title]
        numbers = (counts.objects[sample], counts.found[sample], counts.false_alarms[sample])
        views.append(View(title, jpeg_address(panel), *map(int, numbers)))
    annotated = len(frame.truth.boxes)
    told = f"{views[-1].told} · {counted(annotated, 'object')} annotated"
    whole = jpeg_address(draw_frame(frame, list(boxes.values())[-1], score_threshold=0.0, told=told))
    return SceneViews(truth.scenes[sample].name, frame.token, whole, annotated, tuple(views))
