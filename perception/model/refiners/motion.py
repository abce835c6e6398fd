"""Where found boxes go, read off the ages of the points around them; and so which of their ends is the front.

A detector's map averages over what half a second of clouds shows of a thing, and its regression of velocities learns
from the few things of the training set that move. Here each box's surroundings are drawn as a trail: points by place
along a way and by age, where what moves leaves slanted stripes. Straightened for each speed that could be, the trail of
the right one no longer changes with age, and a small network that sees one straightened trail at a time says how right
it looks: the same for every speed, so that a thing at one speed teaches about all. Candidates warped by hypothesis and
compared are the cost volumes of stereo (Kendall et al., "End-to-end learning of geometry and context for deep stereo
regression", ICCV 2017); speeds from clouds of several ages as in Luo et al., "Fast and Furious", CVPR 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from perception.config import Settings as BaseSettings
from perception.model.boxes import best_rows, label_columns
from perception.ops.perceptron import Perceptron
from perception.ops.rows import Layer, rows_dtype
from perception.ops.trails import WAY, Layout, count_trails, straightened, straightened_rows
from perception.types import Boxes3D, Frame

GEOMETRY = 6  # numbers about a way, beside the box's label
AT_ONCE, STEP = 32, 8  # trails: at most so many, and a multiple of this
ABOVE_M, OVER_M = 0.25, 0.2  # points count from above the box's bottom, not to be the road's, to over its top
LOWEST_M = 0.5  # a box that is lower is taken to be so high
LEAST_SPANS = 2  # of age that points on a way must have
MARGIN_M, MARGIN_SHARE = 0.8, 0.15  # seen beyond the box's ends: at least, and of its length
ROUNDING_M_S = 1.0  # speeds so near to the likeliest have a say in the mean


class Settings(BaseSettings):
    """Which boxes are looked at, how finely, and which speeds could be."""

    name: Literal["motion"] = "motion"
    # Classes that go where they point; and those small enough to go anywhere, which get a second trail across.
    along: tuple[str, ...] = ("car", "truck", "construction_vehicle", "bus", "trailer", "motorcycle")
    anywhere: tuple[str, ...] = ("bicycle", "pedestrian")
    min_score: float = 0.1  # boxes below it aren't looked at
    max_boxes: int = Field(100, ge=1)  # looked at a frame, the best
    spans: int = Field(10, ge=2)  # of age, each span_s long; older points don't count
    span_s: float = Field(0.05, gt=0)
    cell: float = Field(0.125, gt=0)  # m, along the way
    cells: int = Field(320, ge=8)
    layers: int = Field(1, ge=1)  # in height
    bins: int = Field(16, ge=2)  # that a straightened trail has from end to end of the box
    margin: tuple[float, float] = (0.3, 0.7)  # m beside the box; of `along` and of `anywhere`, as below
    fastest: tuple[float, float] = (22.0, 8.0)  # m/s, either way
    step: tuple[float, float] = (1.0, 0.5)  # m/s, between candidates
    hidden: int = 96
    sure: float = Field(0.0, ge=0, le=1)  # what less is said with leaves the detector's velocity
    still: tuple[float, float] = (0.5, 0.3)  # m/s: what is slower stands; about half a step
    turning: float = 1.0  # m/s: what is faster has its front where it goes

    @model_validator(mode="after")
    def _once(self) -> Settings:
        both = set(self.along) & set(self.anywhere)
        if both:
            raise ValueError(f"expected each class in along or in anywhere, got {', '.join(sorted(both))} in both")
        return self

    @property
    def layout(self) -> Layout:
        """Of trails."""
        return Layout(self.spans, self.span_s, self.layers, self.cells, self.cell, ABOVE_M, OVER_M)

    def build(self, classes: tuple[str, ...]) -> Motion:
        return Motion(self, classes)


@dataclass(frozen=True)
class Ways:
    """K straight ways through the middle of boxes."""

    rows: np.ndarray  # (K,) int64, the box
    angles: np.ndarray  # (K,) [rad], where the way leads
    lengths: np.ndarray  # (K,) [m], of the box along the way
    widths: np.ndarray  # (K,) and across it
    anywhere: np.ndarray  # (K,) bool, whether the box may leave the way
    across: np.ndarray  # (K,) bool, whether the way crosses the box's heading

    def select(self, members: np.ndarray) -> Ways:
        """Some of them."""
        return Ways(*(getattr(self, field.name)[members] for field in fields(self)))


class Motion(nn.Module):
    """Trails with what is known of their ways -> how right each speed looks."""

    def __init__(self, settings: Settings, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        width = settings.spans * settings.layers * settings.bins
        self.trail = nn.Linear(width, settings.hidden)
        self.known = nn.Linear(len(classes) + GEOMETRY + 1, settings.hidden)  # the last is the speed's size
        self.judge = nn.Sequential(
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(settings.hidden, settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, 1),
        )
        self._at_once: Callable[[torch.dtype], Perceptron] | None = None

    def forward(self, trails: Tensor, lengths: Tensor, known: Tensor, speeds: Tensor) -> Tensor:
        """trails (K, spans * layers, cells), counts, uint8 or float; lengths (K,) [m]; known (K, classes + GEOMETRY);
        speeds (S,) [m/s] -> logits (K, S)."""
        settings, sizes, halves = self.settings, speeds.abs() / 10, seen_to(lengths)
        dtype = rows_dtype(known)
        if self._at_once is not None and trails.dtype == torch.uint8 and dtype is not None:
            about = known.to(dtype)
            rows = straightened_rows(trails, halves, speeds, about, sizes, settings.layout, settings.bins)
            return self._at_once(dtype)(rows.flatten(0, 1)).view(rows.shape[:2])
        straight = self.trail(straightened(trails, halves, speeds, settings.layout, settings.bins))
        sized = sizes.expand(len(known), -1)[..., None]
        about = self.known(torch.cat([known[:, None].expand(-1, len(speeds), -1), sized], dim=2))
        return self.judge(straight + about)[..., 0]

    def finalise(self) -> None:
        """For weights that don't change any more: the sum of two products is one of wider rows."""
        weight = torch.cat([self.trail.weight, self.known.weight], dim=1)
        _, _, middle, _, last = self.judge
        layers = (weight, self.trail.bias + self.known.bias), (middle.weight, middle.bias), (last.weight, last.bias)
        self._at_once = cache(partial(Perceptron, [Layer(*layer) for layer in layers], False))

    def speeds(self, anywhere: bool) -> Tensor:
        """The candidates (S,) [m/s]."""
        fastest, step = self.settings.fastest[anywhere], self.settings.step[anywhere]
        count = math.floor(fastest / step)
        return torch.arange(-count, count + 1, device=self.trail.weight.device) * step

    @torch.inference_mode()
    def refine(self, frame: Frame, boxes: Boxes3D) -> Boxes3D:
        """The boxes with other velocities, and with their fronts where they go."""
        ways = ways_of(boxes, self.settings)
        if frame.cloud is None or not len(ways.rows):
            return boxes
        trails = trails_of(frame.cloud.points, boxes, ways, self.settings)
        speed, sure = self._judged(trails, ways, known_of(boxes, ways, trails))
        seen = trails.reshape(len(trails), self.settings.spans, -1).any(axis=2).sum(axis=1)
        sure[seen < LEAST_SPANS] = -1  # as of a single cloud: nothing to be told
        return _moved(boxes, ways, speed, sure, self.settings)

    def _judged(self, trails: np.ndarray, ways: Ways, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Speed along each way (K,) [m/s], and how sure that is (K,)."""
        device = self.trail.weight.device
        speed, sure = np.zeros((2, len(trails)), np.float32)
        for anywhere in (False, True):
            speeds, members = self.speeds(anywhere), np.nonzero(ways.anywhere == anywhere)[0]
            for start in range(0, len(members), AT_ONCE):
                part = members[start : start + AT_ONCE]
                filled = np.resize(part, len(part) + -len(part) % STEP)  # some twice: few numbers to be prepared for
                lengths = torch.from_numpy(ways.lengths[filled].astype(np.float32)).to(device)
                counts, about = (torch.from_numpy(a[filled]).to(device) for a in (trails, known))
                mean, mass = likeliest(self(counts, lengths, about, speeds).float(), speeds)
                speed[filled], sure[filled] = mean.cpu().numpy(), mass.cpu().numpy()
        return speed, sure


def ways_of(boxes: Boxes3D, settings: Settings) -> Ways:
    """The ways along, and of small things across, the best of the boxes."""
    kinds = np.array([(name in settings.along) + 2 * (name in settings.anywhere) for name in boxes.class_names])
    order = best_rows(boxes, settings.min_score, settings.max_boxes, kinds[boxes.labels] > 0)
    small = order[kinds[boxes.labels[order]] == 2]
    rows = np.concatenate([order, small])
    across = np.arange(len(rows)) >= len(order)
    length, width = boxes.sizes[rows, 0], boxes.sizes[rows, 1]
    return Ways(
        rows,
        boxes.yaws[rows] + np.where(across, math.pi / 2, 0),
        np.where(across, width, length),
        np.where(across, length, width),
        kinds[boxes.labels[rows]] == 2,
        across,
    )


def trails_of(points: np.ndarray, boxes: Boxes3D, ways: Ways, settings: Settings) -> np.ndarray:
    """How many of the points (N, 5) lie at each place of each way, by age and height: (K, spans * layers, cells) uint8,
    255 at most."""
    numbers = torch.from_numpy(way_numbers(boxes, ways, settings))
    return count_trails(torch.from_numpy(np.asarray(points, np.float32)), numbers, settings.layout).numpy()


def way_numbers(boxes: Boxes3D, ways: Ways, settings: Settings) -> np.ndarray:
    """The ways as perception.ops.trails takes them: (K, 8) float64."""
    small, centers, height = ways.anywhere.astype(np.int64), boxes.centers[ways.rows], boxes.sizes[ways.rows, 2]
    oldest_s = (settings.spans - 1) * settings.span_s
    far = ways.lengths / 2 + np.maximum(MARGIN_M, MARGIN_SHARE * ways.lengths)
    columns = {
        "x": centers[:, 0],
        "y": centers[:, 1],
        "bottom": centers[:, 2] - height / 2,
        "height": np.maximum(height, LOWEST_M),
        "cosine": np.cos(ways.angles),
        "sine": np.sin(ways.angles),
        "side": ways.widths / 2 + np.array(settings.margin)[small],
        "far": far + np.array(settings.fastest)[small] * oldest_s,
    }
    return np.stack([columns[name] for name in WAY], axis=1).astype(np.float64)


def known_of(boxes: Boxes3D, ways: Ways, trails: np.ndarray) -> np.ndarray:
    """What is known of each way (K, classes + GEOMETRY) float32."""
    columns = [
        np.log(np.maximum(ways.lengths, 0.05)),
        np.log(np.maximum(ways.widths, 0.05)),
        boxes.sizes[ways.rows, 2] / 2,
        np.linalg.norm(boxes.centers[ways.rows, :2], axis=1) / 30,
        ways.across,
        np.log1p(trails.sum(axis=(1, 2), dtype=np.int64)) / 5,
    ]
    return np.concatenate(
        [label_columns(boxes.select(ways.rows)), np.stack(columns, axis=1).astype(np.float32)], axis=1
    )


def seen_to(lengths: Tensor) -> Tensor:
    """How far from the middles of boxes so long (K,) [m] their ways are seen."""
    return lengths / 2 + torch.clamp(MARGIN_SHARE * lengths, min=MARGIN_M)


def likeliest(logits: Tensor, speeds: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (K, S) -> the mean of the speeds near to the likeliest (K,) [m/s], and their probability (K,)."""
    near = (speeds - speeds[logits.argmax(dim=1)][:, None]).abs() <= ROUNDING_M_S
    chances = logits.softmax(dim=1) * near
    mass = chances.sum(dim=1)
    return (chances * speeds).sum(dim=1) / mass, mass


def _moved(boxes: Boxes3D, ways: Ways, speed: np.ndarray, sure: np.ndarray, settings: Settings) -> Boxes3D:
    count = len(boxes)
    velocity, least = np.zeros((count, 2)), np.full(count, -1.0)
    np.add.at(velocity, ways.rows, speed[:, None] * np.stack([np.cos(ways.angles), np.sin(ways.angles)], axis=1))
    least[ways.rows] = 1
    np.minimum.at(least, ways.rows, sure)
    told = least >= settings.sure
    small = np.zeros(count, np.int64)
    small[ways.rows] = ways.anywhere
    velocity[np.linalg.norm(velocity, axis=1) < np.array(settings.still)[small]] = 0
    velocities = np.where(told[:, None], velocity, boxes.velocities).astype(boxes.velocities.dtype)
    fast = told & (np.linalg.norm(velocity, axis=1) > settings.turning)
    goes = np.arctan2(velocity[:, 1], velocity[:, 0])
    yaws = np.where(fast, goes, boxes.yaws).astype(boxes.yaws.dtype)
    return replace(boxes.headed(yaws), velocities=velocities)
