"""Which way things that stand face, by where on the street they stand and by what else does.

What moves has its front where it goes. What stands looks much the same from both ends in a few points or pixels, but it
came there as traffic goes: on this side of the road as the own car, on the other side against it, in a row as those
before and behind it. A small network sees each found box as it is and turned round, with the boxes nearby and the own
car in its axes, and says which of the two is likelier; its answer for the one is the opposite of that for the other by
construction. It hears what others have said of the fronts before, by points or images, and weighs it all: the last
word is its own. Boxes that are judged by one another are the relation networks of Hu et al., "Relation Networks for
Object Detection", CVPR 2018; here they are pooled as Qi et al., "PointNet", CVPR 2017, pools points.

Which side is driven on is learned, and so is as in the drives that were learned from.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from calibration.spelling import did_you_mean
from perception.config import Settings as BaseSettings
from perception.config import plugin_names
from perception.model.boxes import HEAD, best_rows, has_front, turned_round
from perception.types import Boxes3D, Frame

THING = ("x", "y", "yaw", "vx", "vy", "score", "label")  # of a box in the ego frame [m, rad, m/s]; label -1: none
SAID, MOST_SAID = 3.0, 2.0  # unit of what is said of fronts, a logit, and how many of it count at most
SAME_M = 0.5  # boxes nearer than this are the same thing under another label
MOVING = 1.0  # m/s: faster things have their front where they go
LENGTHS, WIDTHS = 15.0, 8.0  # m, units of places along a box and across it
# What the numbers about a box, and about each of the others, are multiplied by where the box is turned round.
OWN_TURNED = (-1, -1, -1, -1, -1, -1, -1, 1, 1, -1, -1)
OTHER_TURNED = (-1, -1, -1, -1, -1, 1, -1, -1, 1, -1, 1)


class Settings(BaseSettings):
    """Which boxes are judged, and by how many others."""

    name: Literal["traffic"] = "traffic"
    min_score: float = 0.1  # boxes below it are neither judged nor asked
    max_boxes: int = Field(128, ge=1)  # judged a frame, the best
    others: int = Field(16, ge=1)  # that have a say, the nearest
    reach_m: float = Field(30.0, gt=0)  # how far away they may be
    hidden: int = 48
    hears: tuple[str, ...] = (HEAD, "placement", "appearance")  # who may have said something of the fronts before
    standing: float = 1.0  # m/s: faster boxes keep their heading

    @field_validator("hears")
    @classmethod
    def _known(cls, hears: tuple[str, ...]) -> tuple[str, ...]:
        known = (HEAD, *plugin_names("perception.model.refiners"))
        for name in hears:
            if name not in known or hears.count(name) > 1:
                what = "each once" if name in known else did_you_mean(name, known)
                raise ValueError(f"expected {HEAD!r} or refiners, got {name!r}; {what}")
        return hears

    def build(self, classes: tuple[str, ...]) -> Traffic:
        return Traffic(self, classes)


class Traffic(nn.Module):
    """Boxes, each with others nearby -> how much speaks for its heading."""

    def __init__(self, settings: Settings, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        hidden, count, heard = settings.hidden, len(classes), len(settings.hears)
        self.own_turned = (*OWN_TURNED, *[-1] * 2 * heard)
        self.other_turned = (*OTHER_TURNED, *[-1] * heard)
        self.other = nn.Sequential(
            nn.Linear(len(self.other_turned) + 2 * count, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
        )
        self.judge = nn.Sequential(
            nn.Linear(len(self.own_turned) + count + 2 * hidden, hidden),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, things: Tensor) -> Tensor:
        """things (K, 1 + others, THING and a logit of each that is heard), the box itself first
        -> logits (K,), positive where its heading is right."""
        label = things[..., THING.index("label")]
        labels = F.one_hot(label.long().clamp(min=0), len(self.classes)).to(things)
        there = (label[:, 1:, None] >= 0).to(things)
        kinds = torch.cat([labels[:, 1:] * there, labels[:, :1].expand(-1, there.shape[1], -1)], dim=2)
        own, others = _seen_from_the_first(things)
        as_it_is = self._likely(own, others, labels[:, 0], kinds, there)
        turned = self._likely(
            own * own.new_tensor(self.own_turned),
            others * own.new_tensor(self.other_turned),
            labels[:, 0],
            kinds,
            there,
        )
        return as_it_is - turned

    def _likely(self, own: Tensor, others: Tensor, label: Tensor, kinds: Tensor, there: Tensor) -> Tensor:
        """How likely that is (K,)."""
        others = self.other(torch.cat([others, kinds], dim=2)) * there
        pooled = [others.amax(dim=1), others.sum(dim=1) / 4]
        return self.judge(torch.cat([own, label, *pooled], dim=1))[:, 0]

    @torch.inference_mode()
    def refine(self, frame: Frame, boxes: Boxes3D) -> Boxes3D:
        """The boxes, those turned round that stand the wrong way."""
        settings = self.settings
        rows, things = things_of(boxes, frame, settings)
        if not len(rows):
            return boxes
        logits = self(torch.from_numpy(things).to(self.judge[0].weight.device)).float().cpu().numpy()
        facing = np.zeros(len(boxes), np.float32)
        facing[rows] = logits
        return turned_round(boxes.with_front(settings.name, facing), facing, settings.standing)


def _seen_from_the_first(things: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers about the first of the things (K, 1 + others, THING and logits), and about each of the others in its
    axes."""
    x, y, yaw, vx, vy, score, _ = things[..., : len(THING)].unbind(dim=2)
    heard = (things[..., len(THING) :] / SAID).clamp(-MOST_SAID, MOST_SAID)
    cosine, sine = yaw[:, :1].cos(), yaw[:, :1].sin()
    # The own car is the origin of the ego frame, and its heading 0.
    off_x, off_y = (torch.cat([-part[:, :1], part[:, 1:] - part[:, :1]], dim=1) for part in (x, y))
    along, across = off_x * cosine + off_y * sine, off_y * cosine - off_x * sine
    turn = torch.cat([torch.zeros_like(yaw[:, :1]), yaw[:, 1:]], dim=1)
    same, beside = turn.cos() * cosine + turn.sin() * sine, turn.sin() * cosine - turn.cos() * sine
    near = [along / LENGTHS, across / WIDTHS, (across / 2).tanh(), same, beside]
    speed = torch.hypot(vx, vy)
    moves, goes = (speed > MOVING).to(things), [vx * cosine + vy * sine, vy * cosine - vx * sine]
    others = torch.stack([*near, speed / 5, *(part / 5 for part in goes), moves, moves * same, score], dim=2)
    others = torch.cat([others, heard * same[..., None]], dim=2)[:, 1:]  # as much as they are known to face alike
    own = torch.stack([*near, torch.ones_like(x), score, torch.hypot(x, y) / 30, speed, *goes], dim=2)
    own = torch.cat([own, heard, heard.sign()], dim=2)[:, 0]
    return own, others


def things_of(boxes: Boxes3D, frame: Frame, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the boxes to judge (K,), best first, and what there is around each (K, 1 + others, THING and a logit of
    each that is heard) float32: itself and then the nearest of the others."""
    asked = best_rows(boxes, settings.min_score, len(boxes))
    numbers = _numbers(boxes.select(asked), frame, settings.hears)
    x, y, vx, vy = (numbers[:, THING.index(name)] for name in ("x", "y", "vx", "vy"))
    judged = np.nonzero(has_front(boxes.labels[asked], boxes.class_names) & (np.hypot(vx, vy) <= settings.standing))[0][
        : settings.max_boxes
    ]
    apart = np.hypot(x[judged, None] - x, y[judged, None] - y)
    apart[(apart < SAME_M) | (apart > settings.reach_m)] = np.inf
    nearest = np.argsort(apart, axis=1, kind="stable")[:, : settings.others]
    things = np.zeros((len(judged), 1 + settings.others, numbers.shape[1]), np.float32)
    things[:, :, THING.index("label")] = -1
    things[:, 0] = numbers[judged]
    near = np.isfinite(np.take_along_axis(apart, nearest, axis=1))
    things[:, 1 : 1 + nearest.shape[1]][near] = numbers[nearest[near]]
    return asked[judged], things


def _numbers(boxes: Boxes3D, frame: Frame, hears: tuple[str, ...]) -> np.ndarray:
    """Each box (N, THING and a logit of each that is heard) float32, in the ego frame."""
    boxes = boxes.transformed(frame.ego_from_lidar, "ego")
    columns = (boxes.centers[:, :2].T, boxes.yaws, np.nan_to_num(boxes.velocities).T, boxes.scores, boxes.labels)
    return np.vstack([*columns, *map(boxes.front, hears)]).T.astype(np.float32)
