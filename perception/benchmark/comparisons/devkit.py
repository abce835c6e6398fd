"""Our scoring and opening of tables beside the nuScenes development kit's, on made-up boxes and tables.

Smaller than nuScenes, for the kit takes minutes for all of it: `python -m perception.evaluation.measure` and
`python -m perception.sources.measure` do that once.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from perception.benchmark.comparing import Comparison, Rounds, require_package, take_turns
from perception.config import DetectorConfig
from perception.detector import Detector
from perception.evaluation.definition import OFFICIAL
from perception.evaluation.measure import as_kit_boxes, kit_curves, largest_difference, made_up_boxes
from perception.evaluation.metrics import curves_of, match_all
from perception.sources.measure import KIT, OURS, opening, write_tables
from perception.types import Frame

PEER = "devkit"
SAMPLES, OBJECTS, DETECTIONS = 100, 30, 200  # nuScenes' val has 6019 samples; the others a sample
SCENES = 40  # of 40 samples; trainval has 850


def require(config: DetectorConfig) -> None:
    """InputError without the kit; any configuration will do, for the detector isn't part of this."""
    require_package(PEER, "nuscenes", "pip install nuscenes-devkit==1.2.0")


def compare(detector: Detector, frame: Frame, rounds: Rounds) -> list[Comparison]:
    """Both; neither looks at the detector."""
    return [_compare_scoring(rounds), _compare_opening(rounds)]


def _compare_scoring(rounds: Rounds) -> Comparison:
    predictions, truth = made_up_boxes(SAMPLES, OBJECTS, DETECTIONS, np.random.default_rng(0))
    kit = as_kit_boxes(predictions, SAMPLES, truth=False), as_kit_boxes(truth, SAMPLES, truth=True)
    turns = take_turns(
        lambda: curves_of(match_all(predictions, truth, OFFICIAL)), lambda: kit_curves(*kit), rounds("scoring")
    )
    apart = largest_difference(turns.ours, turns.theirs)
    note = f"{SAMPLES} samples of {DETECTIONS} boxes; curves at most {apart:.0e} apart"
    return turns.compared("scoring", PEER, None, note)


def _compare_opening(rounds: Rounds) -> Comparison:
    """Each in a process of its own, whose start and imports aren't counted."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        write_tables(root, SCENES)
        opening(root, *OURS)  # makes the index
        taken = np.array([[opening(root, *OURS)[0], opening(root, *KIT)[0]] for _ in rounds("opening tables")])
    ours_s, theirs_s = (tuple(map(float, side)) for side in taken.T)
    return Comparison("opening tables", PEER, ours_s, theirs_s, note=f"{SCENES} scenes, ours from its index")
