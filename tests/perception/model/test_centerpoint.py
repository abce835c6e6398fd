"""The CenterPoint head: a peak of a heatmap becomes a box at its place, unless a better one is near."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from calibration.errors import InputError
from perception.model.grid import BevGrid
from perception.model.heads.centerpoint import REGRESSION, CenterPointHead, Outputs, Settings

CLASSES = ("bus", "car", "pedestrian", "cone", "truck")
GROUPS = (
    {"classes": ("car",), "nms_radius_m": 2.0},
    {"classes": ("truck", "bus"), "nms_radius_m": 4.0},
    {"classes": ("cone", "pedestrian"), "nms_radius_m": 0.2},
)
GROUP_OF = {"car": 0, "truck": 1, "bus": 1, "cone": 2, "pedestrian": 2}
GRID = BevGrid(-9.0, -6.0, 0.5, 36, 24)


def make_head(**changes) -> CenterPointHead:
    return Settings(**({"groups": GROUPS, "shared_channels": 8} | changes)).build(6, GRID, CLASSES).eval()


def nothing(frames: int = 1) -> Outputs:
    """Raw outputs without any peak: probabilities underflow to zero."""
    maps = {name: torch.zeros(frames, len(GROUPS), channels, 36, 24) for name, channels in REGRESSION.items()}
    return Outputs(torch.full((frames, len(CLASSES), 36, 24), -1000.0), **maps)


def put(outputs: Outputs, name: str, cell: tuple[int, int], score: float, frame: int = 0, **raw: list[float]) -> None:
    """Add a peak of a class, with the raw values of its box."""
    x, y = cell
    outputs.heatmap[frame, CLASSES.index(name), x, y] = math.log(score / (1 - score))
    for field, values in raw.items():
        getattr(outputs, field)[frame, GROUP_OF[name], :, x, y] = torch.tensor(values)


@pytest.mark.parametrize("name", CLASSES)
def test_a_peak_becomes_a_box_with_what_is_regressed_at_its_cell(name):
    outputs = nothing(frames=2)
    yaw = -2.5
    put(
        outputs,
        name,
        (30, 5),
        0.7,
        frame=1,
        offset=[0.25, 0.75],
        height=[-1.5],
        dim=[math.log(4.5), math.log(1.9), math.log(1.6)],
        rot=[2 * math.sin(yaw), 2 * math.cos(yaw)],
        vel=[3.0, -0.5],
    )
    empty, boxes = make_head().decode(outputs)
    assert len(empty) == 0
    assert [boxes.class_names[label] for label in boxes.labels] == [name]
    np.testing.assert_allclose(boxes.centers, [[-9 + 30.25 * 0.5, -6 + 5.75 * 0.5, -1.5]], atol=1e-6)
    np.testing.assert_allclose(boxes.sizes, [[4.5, 1.9, 1.6]], rtol=1e-6)
    np.testing.assert_allclose(boxes.yaws, [yaw], atol=1e-6)
    np.testing.assert_allclose(boxes.velocities, [[3.0, -0.5]])
    np.testing.assert_allclose(boxes.scores, [0.7], rtol=1e-6)


def test_only_local_maxima_are_peaks_also_at_the_border():
    outputs = nothing()
    for cell, score in {(0, 0): 0.9, (0, 1): 0.8, (10, 10): 0.6, (11, 11): 0.5, (12, 12): 0.7}.items():
        put(outputs, "pedestrian", cell, score)
    (boxes,) = make_head().decode(outputs)
    np.testing.assert_allclose(boxes.scores, [0.9, 0.7, 0.6], rtol=1e-6)


def test_the_worse_of_two_near_boxes_goes_within_a_group_only():
    outputs = nothing()
    put(outputs, "truck", (10, 10), 0.6)
    put(outputs, "bus", (16, 10), 0.9)  # 3 m away, the same group
    put(outputs, "car", (13, 10), 0.5)  # between them, another group
    put(outputs, "car", (20, 10), 0.4)  # 3.5 m from the other car
    (boxes,) = make_head().decode(outputs)
    found = {(CLASSES[label], round(float(score), 3)) for label, score in zip(boxes.labels, boxes.scores, strict=True)}
    assert found == {("bus", 0.9), ("car", 0.5), ("car", 0.4)}


def test_the_best_boxes_of_each_group_are_kept():
    outputs = nothing()
    for i in range(6):
        put(outputs, "pedestrian", (4 * i + 1, 3), 0.1 + 0.1 * i)
        put(outputs, "car", (5 * i + 1, 20), 0.15 + 0.1 * i)
    (boxes,) = make_head(max_boxes=2).decode(outputs)
    np.testing.assert_allclose(boxes.scores, [0.65, 0.55, 0.6, 0.5], rtol=1e-6)
    (boxes,) = make_head(candidates=3).decode(outputs)
    assert len(boxes) == 6


def test_boxes_centred_outside_the_limit_are_dropped_and_suppress_nothing():
    outputs = nothing()
    put(outputs, "car", (10, 10), 0.9, height=[5.0])
    put(outputs, "car", (12, 10), 0.5, height=[1.0])
    (boxes,) = make_head(center_limit=(-61.2, -61.2, -3.0, 61.2, 61.2, 3.0)).decode(outputs)
    np.testing.assert_allclose(boxes.scores, [0.5], rtol=1e-6)


def test_without_peaks_there_are_no_boxes():
    found = make_head().decode(nothing(frames=2))
    assert [len(boxes) for boxes in found] == [0, 0]
    assert found[0].centers.shape == (0, 3)
    assert found[0].class_names == CLASSES


def test_each_class_has_its_own_channel_whatever_its_group():
    head = make_head()
    for group, settings in zip(head.groups, GROUPS, strict=True):
        for name, branch in group.items():
            nn.init.zeros_(branch[-1].weight)
            bias = torch.arange(len(branch[-1].bias)) + 10.0 * GROUPS.index(settings)
            branch[-1].bias.data = bias + (100.0 if name == "heatmap" else 0.0)
    outputs = head(torch.randn(1, 6, 36, 24))
    expected = {"car": 100, "truck": 110, "bus": 111, "cone": 120, "pedestrian": 121}
    assert outputs.heatmap[0, :, 3, 3].tolist() == [expected[name] for name in CLASSES]
    assert outputs.vel[0, :, :, 3, 3].tolist() == [[0, 1], [10, 11], [20, 21]]


def test_an_untrained_heatmap_starts_near_the_prior():
    heat = make_head(prior=0.02)(torch.randn(1, 6, 36, 24) * 0.01).heatmap.sigmoid()
    assert heat.mean().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("car", "truck", "bus", "cone"), "got 'pedestrian'"),
        (("car", "truck", "bus", "cone", "pedestrian", "pram"), "got 'pram'"),
        (("carr", "truck", "bus", "cone", "pedestrian"), "got 'carr'; did you mean car?"),
    ],
)
def test_groups_must_hold_the_detectors_classes(classes, message):
    settings = Settings(groups=({"classes": classes, "nms_radius_m": 1.0},))
    with pytest.raises(InputError, match=r"head\.groups: expected each of .* once") as error:
        settings.build(6, GRID, CLASSES)
    assert message in str(error.value)


def test_no_class_may_be_in_two_groups():
    with pytest.raises(ValueError, match="got 'car' twice"):
        Settings(groups=(*GROUPS, {"classes": ("car",), "nms_radius_m": 1.0}))


# Branches that share their hidden layer


@pytest.mark.parametrize("joint", [False, True])
def test_every_field_has_its_channels_however_the_branches_are_built(joint):
    outputs = make_head(joint=joint)(torch.randn(2, 6, 36, 24))
    assert outputs.heatmap.shape == (2, len(CLASSES), 36, 24)
    for name, channels in REGRESSION.items():
        assert getattr(outputs, name).shape == (2, len(GROUPS), channels, 36, 24)


@pytest.mark.parametrize("joint", [False, True])
def test_only_the_heatmap_starts_as_rare_as_objects_are(joint):
    head = make_head(joint=joint, prior=0.01)
    for conv in head.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.zeros_(conv.weight)
    outputs = head(torch.randn(1, 6, 36, 24))
    torch.testing.assert_close(outputs.heatmap.sigmoid(), torch.full_like(outputs.heatmap, 0.01))
    assert not (outputs.dim == outputs.heatmap[0, 0, 0, 0]).any()


def test_joint_branches_of_a_group_depend_on_one_hidden_layer_of_their_own():
    head = make_head(joint=True)
    bev = torch.randn(1, 6, 36, 24)
    before = head(bev)
    nn.init.zeros_(head.groups[1].branch[0].conv.weight)
    after = head(bev)
    for name in REGRESSION:
        changed = (getattr(before, name) != getattr(after, name)).flatten(2).any(dim=2)[0]
        assert changed.tolist() == [False, True, False]
    changed = (before.heatmap != after.heatmap).flatten(2).any(dim=2)[0]
    assert [name for name, different in zip(CLASSES, changed, strict=True) if different] == ["bus", "truck"]


def test_joint_branches_cost_a_fraction():
    sizes = [sum(p.numel() for p in make_head(joint=joint).groups.parameters()) for joint in (False, True)]
    assert sizes[1] < sizes[0] / 3
