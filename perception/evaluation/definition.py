"""What the nuScenes detection task fixes about scoring: ranges, thresholds, weights and the names of the errors.

Source: Caesar et al., "nuScenes: a multimodal dataset for autonomous driving" (CVPR 2020), section 3.1, and the
development kit's configuration `detection_cvpr_2019`, whose numbers these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from perception.nuscenes import CLASS_NAMES

ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")  # of true positives
ERROR_TITLES = {
    "trans_err": "translation [m]",
    "scale_err": "scale [1 - IoU]",
    "orient_err": "orientation [rad]",
    "vel_err": "velocity [m/s]",
    "attr_err": "attribute [1 - accuracy]",
}
MEAN_ERRORS = {"trans_err": "mATE", "scale_err": "mASE", "orient_err": "mAOE", "vel_err": "mAVE", "attr_err": "mAAE"}

# A cone looks the same from all sides, neither cones nor barriers move or have attributes.
UNDEFINED_ERRORS = {"traffic_cone": {"orient_err", "vel_err", "attr_err"}, "barrier": {"vel_err", "attr_err"}}

ATTRIBUTE_NAMES = (
    "pedestrian.moving",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "cycle.with_rider",
    "cycle.without_rider",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
RACK_CATEGORY = "static_object.bicycle_rack"
RACKED_CLASSES = ("bicycle", "motorcycle")  # not scored inside of racks, where nobody can tell them apart


@dataclass(frozen=True)
class Definition:
    """The settings of an evaluation."""

    class_range: Mapping[str, float]  # [m] boxes of a class count nearer to the ego vehicle than this
    dist_ths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)  # [m] between centres on the ground, below which boxes match
    dist_th_tp: float = 2.0  # [m] the one of them at which the errors of true positives are taken
    min_recall: float = 0.1  # what lies below is left out of the averages
    min_precision: float = 0.1
    max_boxes_per_sample: int = 500
    mean_ap_weight: int = 5  # against 1 for each of the five errors

    @property
    def ranges(self) -> np.ndarray:
        """The range (classes,) [m] of each of CLASS_NAMES."""
        return np.array([self.class_range[name] for name in CLASS_NAMES], np.float64)

    def as_json(self) -> dict[str, Any]:
        """As the development kit writes it into its summary."""
        return {
            "class_range": dict(self.class_range),
            "dist_fcn": "center_distance",
            "dist_ths": list(self.dist_ths),
            "dist_th_tp": self.dist_th_tp,
            "min_recall": self.min_recall,
            "min_precision": self.min_precision,
            "max_boxes_per_sample": self.max_boxes_per_sample,
            "mean_ap_weight": self.mean_ap_weight,
        }


OFFICIAL = Definition(
    MappingProxyType(
        {
            "car": 50,
            "truck": 50,
            "bus": 50,
            "trailer": 50,
            "construction_vehicle": 50,
            "pedestrian": 40,
            "motorcycle": 40,
            "bicycle": 40,
            "traffic_cone": 30,
            "barrier": 30,
        }
    )
)
