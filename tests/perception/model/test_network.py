"""The whole forward pass: frames of a batch don't influence each other, and any sensor may be missing."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from calibration.errors import InputError
from perception.config import DetectorConfig, load_config, parse_config
from perception.model.batch import Batch
from perception.model.network import Network
from perception.prepare import prepare
from perception.types import Frame, PointCloud
from tests.tiny import CAMERAS, tiny_config, tiny_data, tiny_frame, tiny_network

CHECKOUT = Path(__file__).resolve().parents[3]
VARIANTS = {"fused": (True, True), "LiDAR": (False, True), "cameras": (True, False)}
HEADS = ("transfusion", "centerpoint")
variants = pytest.mark.parametrize("variant", VARIANTS)
heads = pytest.mark.parametrize("head", HEADS)


def config_of(variant: str, head: str = "transfusion") -> DetectorConfig:
    return tiny_config(*VARIANTS[variant], head)


def outputs_of(network: Network, batch: Batch) -> dict[str, Tensor]:
    """By field."""
    with torch.inference_mode():
        outputs = network(batch)
    return {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


def without(frame: Frame, *cameras: str) -> Frame:
    kept = {name: image for name, image in frame.cameras.items() if name not in cameras}
    return dataclasses.replace(frame, cameras=kept)


SOME_FRAMES = {
    "whole": tiny_frame(0),
    "another": tiny_frame(1),
    "one camera": tiny_frame(2, cameras=("CAM_BACK",)),
    "no camera": tiny_frame(3, cameras=()),
    "no cloud": tiny_frame(4, points=None),
    "empty cloud": tiny_frame(5, points=0),
    "one point": tiny_frame(6, points=1),
    "nothing": tiny_frame(7, cameras=(), points=None),
}


@variants
@heads
def test_frames_of_a_batch_are_seen_as_if_alone(variant, head):
    config = config_of(variant, head)
    network = tiny_network(config)
    together = outputs_of(network, prepare(list(SOME_FRAMES.values()), config))
    for row, (name, frame) in enumerate(SOME_FRAMES.items()):
        alone = outputs_of(network, prepare([frame], config))
        here = {field: value[row : row + 1] for field, value in together.items()}
        assert_same({"heatmap": here["heatmap"]}, alone)
        if name in ("whole", "another"):  # others have wide plateaus: equal peaks, which may come in any order
            assert_same(here, alone)


@variants
@pytest.mark.parametrize("frame", SOME_FRAMES.values(), ids=SOME_FRAMES)
def test_whatever_is_missing_boxes_are_finite(variant, frame):
    config = config_of(variant)
    network = tiny_network(config)
    with torch.inference_mode():
        (boxes,) = network.head.decode(network(prepare([frame], config)))
    for values in (boxes.centers, boxes.sizes, boxes.yaws, boxes.velocities, boxes.scores):
        assert np.isfinite(values).all()


def test_an_empty_cloud_is_the_same_as_none():
    config = config_of("fused")
    network = tiny_network(config)
    empty, none = tiny_frame(0, points=0), tiny_frame(0, points=None)
    assert_same(*(outputs_of(network, prepare([frame], config)) for frame in (empty, none)))


@variants
def test_every_sensor_that_is_there_matters(variant):
    config = config_of(variant)
    network = tiny_network(config)
    frame = tiny_frame(0)
    changed = {"cloud": dataclasses.replace(frame, cloud=None)}
    changed |= {name: without(frame, name) for name in CAMERAS}
    heat = outputs_of(network, prepare([frame], config))["heatmap"]
    for name, other in changed.items():
        difference = (outputs_of(network, prepare([other], config))["heatmap"] - heat).abs().max()
        used = config.uses_lidar if name == "cloud" else config.uses_cameras
        assert (difference > 1e-6) == used, name


def test_the_order_of_the_points_does_not_matter_below_the_limits():
    config = parse_config(tiny_data(cameras=False) | {"points": {"max_points_per_voxel": None, "max_voxels": None}})
    network = tiny_network(config)
    frame = tiny_frame(0)
    shuffled = PointCloud(np.random.default_rng(0).permutation(frame.cloud.points))
    frames = (frame, dataclasses.replace(frame, cloud=shuffled))
    assert_same(*(outputs_of(network, prepare([frame], config)) for frame in frames))


@variants
@heads
@pytest.mark.parametrize("frames", [("whole", "no cloud"), ("nothing", "one point"), ("nothing", "nothing")], ids=str)
def test_training_survives_missing_sensors(variant, head, frames):
    config = config_of(variant, head)
    network = tiny_network(config).train()
    outputs = network(prepare([SOME_FRAMES[name] for name in frames], config))
    loss = sum(getattr(outputs, field.name).float().mean() for field in dataclasses.fields(outputs))
    loss.backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(value.isfinite().all() for value in network.state_dict().values())


# The branches


def point_cloud(*points: tuple[float, float, float]) -> PointCloud:
    return PointCloud(np.array([(*point, 100.0, 0.0) for point in points], np.float32).reshape(-1, 5))


@pytest.mark.parametrize(("x", "y"), [(-39.0, -39.0), (1.0, 30.0), (38.0, -7.0), (-20.0, 12.0)])
def test_a_point_shows_in_the_lidar_map_where_it_is(x, y):
    config = config_of("LiDAR")
    branch = tiny_network(config).lidar_branch
    frame = dataclasses.replace(tiny_frame(0), cloud=point_cloud((x, y, 0.0)))
    bev = branch(prepare([frame], config))
    assert bev.shape == (1, branch.out_channels, branch.grid.size_x, branch.grid.size_y)
    cells = torch.nonzero(bev[0].abs().sum(dim=0))
    assert len(cells)
    center = torch.tensor([(x + 40) / 2.5, (y + 40) / 2.5]) - 0.5
    assert (cells - center).abs().max() < 1.5


def test_frames_without_a_point_have_an_empty_lidar_map():
    config = config_of("LiDAR")
    branch = tiny_network(config).lidar_branch
    far = dataclasses.replace(tiny_frame(0), cloud=point_cloud((500.0, 0.0, 0.0)))
    frames = [SOME_FRAMES["no cloud"], SOME_FRAMES["whole"], SOME_FRAMES["empty cloud"], far]
    filled = (branch(prepare(frames, config)).flatten(1) != 0).any(dim=1)
    assert filled.tolist() == [False, True, False, False]


def test_voxels_know_their_frame_and_cell():
    config = config_of("LiDAR")
    branch = tiny_network(config).lidar_branch
    cell = np.array([1.25, 1.25, 0.8])
    clouds = [point_cloud((-39.9, -39.9, -4.9)), None, point_cloud((39.9, -39.9, 2.9), (0.1, 0.1, 0.1))]
    frames = [dataclasses.replace(tiny_frame(0), cloud=cloud) for cloud in clouds]
    features, coordinates = branch.voxels(prepare(frames, config))
    assert coordinates.tolist() == [[0, 0, 0, 0], [2, 63, 0, 9], [2, 32, 32, 6]]
    place = (features[:, :3].numpy() - (-40.0, -40.0, -5.0)) / cell
    np.testing.assert_array_equal(np.floor(place), coordinates[:, 1:])


def test_frames_without_an_image_have_an_empty_camera_map():
    config = config_of("cameras")
    branch = tiny_network(config).camera_branch
    for frames in (["no camera", "one camera", "nothing"], ["nothing", "no camera"]):
        bev = branch(prepare([SOME_FRAMES[name] for name in frames], config))
        assert bev.shape == (len(frames), branch.out_channels, branch.grid.size_x, branch.grid.size_y)
        assert (bev.flatten(1) != 0).any(dim=1).tolist() == [name == "one camera" for name in frames]


# Building


def test_branches_that_are_left_out_are_not_built():
    assert Network(config_of("LiDAR")).camera_branch is None
    assert Network(config_of("cameras")).lidar_branch is None
    assert Network(config_of("LiDAR")).fuser is None
    assert Network(config_of("fused")).fuser is not None


@variants
def test_the_heads_grid_is_the_branches(variant):
    network = Network(config_of(variant))
    assert network.head.grid == network.grid
    assert (network.grid.size_x, network.grid.cell, network.grid.lower_x) == (32, 2.5, -40.0)


def test_a_decoder_that_strides_makes_the_heads_grid_coarser():
    data = tiny_data()
    data["bev_decoder"] = data["bev_decoder"] | {"stage_strides": [2, 2]}
    config = parse_config(data)
    network = tiny_network(config)
    assert network.head.grid == network.grid.coarser(2)
    assert outputs_of(network, prepare([tiny_frame(0)], config))["heatmap"].shape == (1, 10, 16, 16)


def test_branches_on_different_grids_are_refused():
    data = tiny_data()
    data["view_transform"] = data["view_transform"] | {"cell": 0.625}
    with pytest.raises(InputError, match="both branches on one BEV grid"):
        Network(parse_config(data))


def test_the_public_configurations_have_the_published_grid():
    with torch.device("meta"):
        network = Network(load_config(CHECKOUT / "configs" / "bevfusion_lidar_camera.yaml"))
    grid = network.head.grid
    assert (grid.size_x, grid.size_y, grid.lower_x, grid.lower_y) == (180, 180, -54.0, -54.0)
    assert grid.cell == pytest.approx(0.6)
    assert (network.lidar_branch.out_channels, network.camera_branch.out_channels) == (256, 80)
    assert network.bev_decoder.out_channels == 512


def test_a_batch_moves_as_a_whole():
    batch = prepare([tiny_frame(0)], config_of("fused")).to("meta")
    tensors = [value for value in vars(batch).values() if isinstance(value, Tensor)]
    assert len(tensors) == 5
    assert {tensor.device.type for tensor in (*tensors, *batch.clouds)} == {"meta"}


# The light detectors for simulated cities


def test_the_light_detectors_fit_each_other():
    """So that fused ones can start from the weights of the other two."""
    networks = {}
    with torch.device("meta"):
        for name in ("lidar", "camera", "fusion", "fusion_maps"):
            networks[name] = Network(load_config(CHECKOUT / "configs" / f"sim_{name}.yaml")).state_dict()
    streams = {name.removeprefix("camera_stream.") for name in networks["fusion"]}
    assert set(networks["lidar"]) | set(networks["camera"]) == streams
    fused = networks["fusion_maps"]
    lidar = {name for name in networks["lidar"] if not name.startswith("refiners.")}
    assert lidar <= set(fused)
    shared = [name for name in networks["camera"] if name.startswith(("camera_branch.backbone", "camera_branch.neck"))]
    assert set(shared) <= set(fused)
    own = {*lidar, *shared}
    assert all(name in own or name.startswith(("camera_branch.view_transform", "fuser")) for name in fused)
    for part in ("lidar", "camera"):
        same = lidar if part == "lidar" else shared
        assert all(networks[part][name].shape == fused[name].shape for name in same)


def test_the_light_detectors_are_light():
    """All three in half precision are to be shipped in 25 MB."""
    numbers = 0
    with torch.device("meta"):
        for name in ("lidar", "camera", "fusion"):
            network = Network(load_config(CHECKOUT / "configs" / f"sim_{name}.yaml"))
            numbers += sum(tensor.numel() for tensor in network.state_dict().values())
    assert 2 * numbers < 25e6
