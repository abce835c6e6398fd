"""The TransFusion head: which cells become proposals, and what boxes they become."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perception.model.grid import BevGrid
from perception.model.heads.transfusion import Outputs, Settings, TransFusionHead

CLASSES = ("car", "pedestrian", "bus", "traffic_cone")
SMALL = [1, 3]  # by default every cell may be a proposal of these
GRID = BevGrid(-9.0, -6.0, 0.5, 12, 8)


def make_head(**changes) -> TransFusionHead:
    small = {"hidden": 16, "proposals": 5, "attention_heads": 2, "ffn_channels": 16}
    return Settings(**(small | changes)).build(6, GRID, CLASSES).eval()


class Fixed(nn.Module):
    """Gives the same heatmap whatever it gets."""

    def __init__(self, heatmap: Tensor) -> None:
        super().__init__()
        self.heatmap = heatmap

    def forward(self, features: Tensor) -> Tensor:
        return self.heatmap


def raw(heat: float, label: int = 0, frames: int = 1, **fields: list[float]) -> Outputs:
    """One proposal a frame, at given raw values."""
    values = {"center": [6.0, 4.0], "height": [0.0], "dim": [0.0] * 3, "rot": [0.0, 1.0], "vel": [0.0] * 2} | fields
    predicted = {name: torch.tensor(value).view(1, -1, 1).repeat(frames, 1, 1) for name, value in values.items()}
    scores = torch.full((frames, len(CLASSES), 1), 0.125)
    scores[:, label] = heat
    labels = torch.full((frames, 1), label)
    logits = torch.arange(len(CLASSES)).float().view(1, -1, 1).repeat(frames, 1, 1)
    return Outputs(torch.zeros(frames, len(CLASSES), 12, 8), scores, labels, logits, **predicted)


# Peaks


def test_peaks_are_the_cells_that_no_neighbour_exceeds():
    heat = torch.rand(2, len(CLASSES), 12, 8)
    peaks = make_head().peaks(heat)
    for label in set(range(len(CLASSES))) - set(SMALL):
        for frame in range(2):
            for x in range(12):
                for y in range(8):
                    inside = 0 < x < 11 and 0 < y < 7
                    around = heat[frame, label, max(0, x - 1) : x + 2, max(0, y - 1) : y + 2]
                    highest = inside and heat[frame, label, x, y] == around.max()
                    assert peaks[frame, label, x, y] == (heat[frame, label, x, y] if highest else 0)


@pytest.mark.parametrize("cell", [(0, 3), (11, 3), (5, 0), (5, 7), (0, 0), (11, 7)], ids=str)
def test_the_border_never_wins_but_for_small_classes(cell):
    heat = torch.full((1, len(CLASSES), 12, 8), 0.1)
    heat[:, :, cell[0], cell[1]] = 0.9
    peaks = make_head().peaks(heat)
    won = peaks[0, :, cell[0], cell[1]] > 0
    assert won.tolist() == [label in SMALL for label in range(len(CLASSES))]


def test_every_cell_may_be_a_proposal_of_a_small_class():
    heat = torch.rand(1, len(CLASSES), 12, 8)
    head = make_head()
    assert torch.equal(head.peaks(heat)[:, SMALL], heat[:, SMALL])
    none_small = make_head(small_classes=())
    assert not none_small.peaks(heat)[:, :, 0].any()


def test_a_wider_kernel_clears_a_wider_neighbourhood():
    heat = torch.zeros(1, len(CLASSES), 12, 8)
    heat[0, 0, 5, 4], heat[0, 0, 7, 4] = 0.9, 0.8
    assert torch.nonzero(make_head().peaks(heat)[0, 0]).tolist() == [[5, 4], [7, 4]]
    assert torch.nonzero(make_head(peak_kernel=5).peaks(heat)[0, 0]).tolist() == [[5, 4]]


# Proposals


def test_proposals_are_the_highest_peaks_over_all_classes():
    peaks = torch.rand(3, len(CLASSES), 96)
    labels, places = make_head(proposals=30).proposals(peaks)
    for frame in range(3):
        best = np.argsort(-peaks[frame].flatten().numpy())[:30]
        np.testing.assert_array_equal(labels[frame], best // 96)
        np.testing.assert_array_equal(places[frame], best % 96)


def test_a_map_with_fewer_cells_than_proposals_is_fine():
    grid = BevGrid(0.0, 0.0, 1.0, 4, 3)
    head = Settings(hidden=16, proposals=200, attention_heads=2, ffn_channels=16).build(6, grid, CLASSES).eval()
    with torch.inference_mode():
        (boxes,) = head.decode(head(torch.randn(1, 6, 4, 3)))
    assert len(boxes) == 4 * 3 * len(CLASSES)


def test_each_proposal_predicts_from_its_own_cell():
    """With predictors that add nothing, boxes are centred on the cells of the peaks."""
    heatmap = torch.full((1, len(CLASSES), 12, 8), -8.0)
    expected = [(2, 3, 3), (0, 10, 6), (1, 0, 0)]  # class, x, y
    for rank, (label, x, y) in enumerate(expected):
        heatmap[0, label, x, y] = 3.0 - rank
    head = make_head(proposals=3)
    head.heatmap_head = Fixed(heatmap)
    for predictor in head.predictors.values():
        nn.init.zeros_(predictor[-1].weight)
        nn.init.zeros_(predictor[-1].bias)
    with torch.inference_mode():
        (boxes,) = head.decode(head(torch.randn(1, 6, 12, 8)))
    assert boxes.labels.tolist() == [label for label, _, _ in expected]
    np.testing.assert_allclose(
        boxes.centers, [(-9 + 0.5 * (x + 0.5), -6 + 0.5 * (y + 0.5), 0) for _, x, y in expected], atol=1e-5
    )
    np.testing.assert_allclose(boxes.scores, 0.5 * torch.tensor([3.0, 2, 1]).sigmoid(), atol=1e-6)


# Decoding


def test_raw_values_become_metres_and_radians():
    outputs = raw(0.5, center=[3.5, 6.25], height=[-1.2], dim=[math.log(4.5), math.log(1.9), math.log(1.6)])
    (boxes,) = make_head().decode(outputs)
    np.testing.assert_allclose(boxes.centers, [[-9 + 3.5 * 0.5, -6 + 6.25 * 0.5, -1.2]], atol=1e-6)
    np.testing.assert_allclose(boxes.sizes, [[4.5, 1.9, 1.6]], rtol=1e-6)


@pytest.mark.parametrize("yaw", [0.0, 0.5, -2.0, 3.1])
def test_yaw_comes_from_sine_and_cosine_of_any_length(yaw):
    (boxes,) = make_head().decode(raw(0.5, rot=[3 * math.sin(yaw), 3 * math.cos(yaw)], vel=[1.5, -2.5]))
    np.testing.assert_allclose(boxes.yaws, [yaw], atol=1e-6)
    np.testing.assert_allclose(boxes.velocities, [[1.5, -2.5]])


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_the_score_is_the_heatmaps_times_the_decoders_for_the_proposals_class(label):
    (boxes,) = make_head().decode(raw(0.75, label))
    assert boxes.labels.tolist() == [label]
    np.testing.assert_allclose(boxes.scores, [0.75 / (1 + math.exp(-label))], rtol=1e-6)


def test_boxes_centred_outside_the_limit_are_dropped():
    limit = (-8.0, -5.0, -2.0, -4.0, 5.0, 2.0)
    inside, outside = [6.0, 4.0], [11.0, 4.0]  # x -6 and -3.5
    kept = [make_head(center_limit=limit).decode(raw(0.5, center=center))[0] for center in (inside, outside)]
    assert [len(boxes) for boxes in kept] == [1, 0]


def test_the_limit_in_height_is_for_the_centre_of_the_bottom():
    limit = (-60.0, -60.0, -2.0, 60.0, 60.0, 2.0)
    tall = {"dim": [0.0, 0.0, math.log(3.0)]}
    kept = [make_head(center_limit=limit).decode(raw(0.5, height=[z], **tall))[0] for z in (-1.0, 0.0, 3.0, 4.0)]
    assert [len(boxes) for boxes in kept] == [0, 1, 1, 0]


def test_frames_may_be_left_without_boxes():
    found = make_head(center_limit=(0, 0, 0, 1, 1, 1)).decode(raw(0.5, frames=3))
    assert [len(boxes) for boxes in found] == [0, 0, 0]
    assert found[0].centers.shape == (0, 3)
