"""Boxes of one object that two detectors found become one, as certain and as exact as both make it.

Scores: Chen et al., "Multimodal Object Detection via Probabilistic Ensembling", ECCV 2022: of what is independent given
the object, odds multiply. That takes probabilities, so scores are calibrated first (Platt, "Probabilistic Outputs for
Support Vector Machines", 1999; `fit_calibration` finds the numbers). Places: each detector's errors are a Gaussian, a
camera's drawn out along its ray; pairs are those that are near by these, and their mean is weighted by the inverse
covariances.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.optimize import linear_sum_assignment

from perception.config import Settings as BaseSettings
from perception.types import Boxes3D

FAR = 1e6  # a cost that no pair within the gate comes near
LEAST = 1e-6  # scores are kept so far from 0 and 1


class Calibration(BaseSettings):
    """A score's probability of being right: sigmoid(scale * logit(score) + offset)."""

    scale: float = Field(1.0, gt=0)
    offset: float = 0.0


class Errors(BaseSettings):
    """Standard deviation of a box's centre, seen from above: across the ray from the LiDAR's place, and along it."""

    across_m: float = Field(gt=0)
    along_m: float = Field(gt=0)
    along_share: float = Field(0.0, ge=0)  # of the distance, added to `along_m`


class Settings(BaseSettings):
    """How good both detectors are."""

    name: Literal["boxes"] = "boxes"
    needs_both: ClassVar[bool] = True
    gate: float = Field(9.21, gt=0)  # squared distance in standard deviations; 99 % of true pairs are nearer
    prior: float = Field(0.1, gt=0, lt=1)  # probability of an object where one detector has a box at all
    main: Calibration = Calibration()
    camera: Calibration = Calibration()
    main_errors: Errors = Errors(across_m=0.3, along_m=0.3)
    camera_errors: Errors = Errors(across_m=0.5, along_m=0.5, along_share=0.05)
    main_alone: float = 0.0  # logit added to a box that the cameras, which are there, don't confirm
    camera_alone: float = -2.0  # and to one of the cameras that the main stream doesn't

    def build(self) -> BoxFusion:
        return BoxFusion(self)


@dataclass(frozen=True)
class BoxFusion:
    """See the contract."""

    settings: Settings

    def __call__(self, main: Boxes3D | None, camera: Boxes3D | None) -> Boxes3D:
        settings = self.settings
        if main is None and camera is None:
            raise ValueError("boxes to fuse: expected those of one stream at least, got none")
        if main is None or camera is None:
            only, calibration = (camera, settings.camera) if main is None else (main, settings.main)
            return replace(only, scores=sigmoid(_calibrated(only.scores, calibration)))
        mine, theirs = self.pairs(main, camera)
        logits = _calibrated(main.scores, settings.main), _calibrated(camera.scores, settings.camera)
        alone = [np.delete(np.arange(len(boxes)), rows) for boxes, rows in ((main, mine), (camera, theirs))]
        both = logits[0][mine] + logits[1][theirs] - logit(settings.prior)
        parts = [
            replace(self.merged(main.select(mine), camera.select(theirs)), scores=sigmoid(both)),
            replace(main.select(alone[0]), scores=sigmoid(logits[0][alone[0]] + settings.main_alone)),
            replace(camera.select(alone[1]), scores=sigmoid(logits[1][alone[1]] + settings.camera_alone)),
        ]
        return _joined(parts)

    def pairs(self, main: Boxes3D, camera: Boxes3D) -> tuple[np.ndarray, np.ndarray]:
        """Rows of boxes of one class that may be one object, each in one pair at most: the least total distance."""
        offset = (main.centers[:, None, :2] - camera.centers[None, :, :2]).astype(np.float64)  # (N, M, 2)
        spread = self._main_covariances(main)[:, None] + self._camera_covariances(camera)[None]
        distance = np.einsum("nmi,nmij,nmj->nm", offset, np.linalg.inv(spread), offset)
        possible = (main.labels[:, None] == camera.labels) & (distance <= self.settings.gate)
        mine, theirs = linear_sum_assignment(np.where(possible, distance, FAR))
        kept = possible[mine, theirs]
        return mine[kept], theirs[kept]

    def merged(self, main: Boxes3D, camera: Boxes3D) -> Boxes3D:
        """Boxes that are one object row for row: means weighted by how sure each detector is of its own."""
        ours, theirs = np.linalg.inv(self._main_covariances(main)), np.linalg.inv(self._camera_covariances(camera))
        weighted = ours @ main.centers[:, :2, None] + theirs @ camera.centers[:, :2, None]
        places = np.linalg.solve(ours + theirs, weighted)[..., 0]
        share = _trace(ours) / (_trace(ours) + _trace(theirs))  # of the main stream, in what has no direction
        height = share * main.centers[:, 2] + (1 - share) * camera.centers[:, 2]
        return replace(
            main.headed(_mean_yaw(main.yaws, camera.yaws, share)),
            centers=np.column_stack([places, height]),
            sizes=np.exp(share[:, None] * np.log(main.sizes) + (1 - share[:, None]) * np.log(camera.sizes)),
            velocities=_mean_known(main.velocities, camera.velocities, share[:, None]),
        )

    def _main_covariances(self, boxes: Boxes3D) -> np.ndarray:
        return covariances(boxes.centers, self.settings.main_errors)

    def _camera_covariances(self, boxes: Boxes3D) -> np.ndarray:
        return covariances(boxes.centers, self.settings.camera_errors)


def covariances(centers: np.ndarray, errors: Errors) -> np.ndarray:
    """Of the places of boxes (N, >= 2) [m] -> (N, 2, 2) [m2], the lidar's origin taken for the sensor's place."""
    x, y = np.asarray(centers, np.float64)[:, :2].T
    distance = np.hypot(x, y)
    cos, sin = np.divide((x, y), distance, out=np.tile([[1.0], [0.0]], len(x)), where=distance > 0)
    turn = np.stack([cos, -sin, sin, cos], axis=-1).reshape(-1, 2, 2)
    along = errors.along_m + errors.along_share * distance
    spread = np.stack([along, np.full_like(along, errors.across_m)], axis=-1) ** 2
    return (turn * spread[:, None]) @ turn.transpose(0, 2, 1)


def fit_calibration(scores: np.ndarray, right: np.ndarray, steps: int = 50) -> Calibration:
    """The calibration under which it is most likely that just those boxes (N,) bool were right; by Newton's method.

    A little of the data's own doubt is added (Platt's targets), so that it ends where all are right or all wrong.
    """
    x = np.column_stack([logit(scores), np.ones(len(scores))])
    hits = np.count_nonzero(right)
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))
    weights = np.array([1.0, 0.0])
    for _ in range(steps):
        p = sigmoid(x @ weights)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2)
        weights = weights - np.linalg.solve(hessian, x.T @ (p - target))
    return Calibration(scale=max(float(weights[0]), LEAST), offset=float(weights[1]))


def logit(p: np.ndarray | float) -> np.ndarray:
    """The logarithm of the odds."""
    p = np.clip(np.asarray(p, np.float64), LEAST, 1 - LEAST)
    return np.log(p / (1 - p))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The way back."""
    return 0.5 * (1 + np.tanh(x / 2))


def _calibrated(scores: np.ndarray, calibration: Calibration) -> np.ndarray:
    return calibration.scale * logit(scores) + calibration.offset


def _trace(matrices: np.ndarray) -> np.ndarray:
    return np.trace(matrices, axis1=1, axis2=2)


def _mean_yaw(main: np.ndarray, camera: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Between both headings; where they are opposite, along the main stream's."""
    difference = np.angle(np.exp(1j * (camera - main)))
    difference = np.where(np.abs(difference) > np.pi / 2, difference - np.sign(difference) * np.pi, difference)
    return np.angle(np.exp(1j * (main + (1 - share) * difference)))


def _mean_known(main: np.ndarray, camera: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Weighted mean; where one is NaN, the other."""
    mean = share * main + (1 - share) * camera
    return np.where(np.isnan(camera), main, np.where(np.isnan(main), camera, mean))


def _joined(parts: list[Boxes3D]) -> Boxes3D:
    whole = Boxes3D.joined(parts)
    names = ("centers", "sizes", "yaws", "velocities", "scores")
    whole = replace(whole, **{name: getattr(whole, name).astype(np.float32) for name in names})
    return whole.select(np.argsort(-whole.scores, kind="stable"))
