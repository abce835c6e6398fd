"""What every plug-in promises, tested on every file of every plug-in folder: a new file is tested by being there.

Where its defaults are too large to run in a blink, or incomplete, SMALL says how to build it small.
"""

import dataclasses
import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calibration.errors import InputError
from perception import config
from perception.model.batch import Batch
from perception.model.grid import BevGrid
from perception.types import Boxes3D
from tests.tiny import CAMERAS, camera_from_lidar, settled

FOLDERS = ("lidar_encoders", "image_backbones", "image_necks", "view_transforms", "decorations", "fusers", "heads")
FOLDERS += ("late",)
NAMES = {folder: config.plugin_names(f"perception.model.{folder}") for folder in FOLDERS}
LIFT_SPLAT = {
    "out_channels": 6,
    "depth": (1.0, 31.0, 3.0),
    "lower": (-24.0, -16.0, -10.0),
    "upper": (24.0, 16.0, 10.0),
    "cell": 2.0,
}
CLASSES = ("car", "pedestrian", "bus")
SMALL: dict[tuple[str, str], dict[str, Any]] = {
    ("lidar_encoders", "sparse"): {"stage_channels": (4, 8), "down_padding_z": (1,), "out_channels": 6},
    ("lidar_encoders", "pillars"): {"channels": 4, "stage_channels": (8,)},
    ("image_backbones", "swin"): {"channels": 8, "depths": (2, 2, 2, 1), "heads": (1, 2, 2, 4), "window": 4},
    ("image_necks", "generalized_lss_fpn"): {"out_channels": 8},
    ("view_transforms", "lss"): LIFT_SPLAT,
    ("view_transforms", "depth_lss"): LIFT_SPLAT,
    ("view_transforms", "ray_lss"): LIFT_SPLAT,
    ("fusers", "conv"): {"out_channels": 8},
    ("heads", "transfusion"): {"hidden": 16, "proposals": 20, "attention_heads": 2, "ffn_channels": 16},
    ("heads", "query"): {"hidden": 16, "proposals": 20, "attention_heads": 2, "ffn_channels": 16},
    ("heads", "centerpoint"): {
        "shared_channels": 8,
        "groups": (
            {"classes": ("bus", "car"), "nms_radius_m": 4.0},
            {"classes": ("pedestrian",), "nms_radius_m": 0.2},
        ),
    },
}
STRIDE, IMAGE_SIZE = 8, (64, 32)
VOXELS = config.GridSettings(lower=(-12.0, -8.0, -5.0), upper=(12.0, 8.0, 3.0), voxel=(0.5, 0.5, 0.8))
GRID = BevGrid(-12.0, -8.0, 1.0, 24, 16)


def each(folder: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", NAMES[folder])


def small_settings(folder: str, name: str) -> config.Settings:
    module = importlib.import_module(f"perception.model.{folder}.{name}")
    return module.Settings(**SMALL.get((folder, name), {}))


def build(folder: str, name: str, *arguments: Any) -> nn.Module:
    """With random statistics, in evaluation mode."""
    return settled(small_settings(folder, name).build(*arguments)).eval()


def assert_gradients_everywhere(module: nn.Module, *outputs: Tensor) -> None:
    """From a random projection of the outputs to every parameter."""
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    without = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


def random_batch(frames: list[int], size: int) -> Batch:
    """Images that belong to these frames, a cloud for each frame."""
    count = len(frames)
    rng = np.random.default_rng(0)
    poses = [camera_from_lidar(CAMERAS[i % len(CAMERAS)]).matrix for i in range(count)]
    intrinsics = np.array([[40.0, 0, 31.5], [0, 40.0, 15.5], [0, 0, 1]])
    clouds = rng.uniform((-24, -16, -3, 0, 0), (24, 16, 3, 255, 1), (size, 200, 5))
    return Batch(
        size=size,
        clouds=tuple(torch.from_numpy(clouds).float()),
        images=torch.zeros(count, 3, IMAGE_SIZE[1], IMAGE_SIZE[0]),
        image_frame=torch.tensor(frames, dtype=torch.int64),
        camera_from_lidar=torch.from_numpy(np.array(poses).reshape(-1, 4, 4)),
        image_from_camera=torch.from_numpy(np.array([intrinsics] * count).reshape(-1, 3, 3)),
        input_from_image=torch.eye(3, dtype=torch.float64).repeat(count, 1, 1),
    )


def one_frame(batch: Batch, frame: int) -> tuple[Batch, Tensor]:
    """The part of a batch that is one frame's, and which images these are."""
    rows = batch.image_frame == frame
    fields = ("images", "camera_from_lidar", "image_from_camera", "input_from_image")
    own = {name: getattr(batch, name)[rows] for name in fields}
    image_frame = torch.zeros(int(rows.sum()), dtype=torch.int64)
    return Batch(size=1, clouds=(batch.clouds[frame],), image_frame=image_frame, **own), rows


# All


def test_every_folder_has_plug_ins():
    assert all(NAMES.values())


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder in FOLDERS for name in NAMES[folder]])
def test_the_file_name_is_the_configuration_name(folder, name):
    settings = small_settings(folder, name)
    assert isinstance(settings, config.Settings)
    assert settings.name == name
    with pytest.raises(ValueError, match="name"):
        type(settings)(**SMALL.get((folder, name), {}), name=f"{name}_")
    assert settings.model_config["frozen"]
    assert settings.model_config["extra"] == "forbid"


# LiDAR encoders: voxels -> LiDAR map


def random_voxels(frames: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """A hundred voxels with their mean points in each of these frames, and their places."""
    rng = np.random.default_rng(seed)
    x, y, z = VOXELS.size
    keys = [frame * x * y * z + key for frame in frames for key in rng.choice(x * y * z, 100, replace=False)]
    places = np.stack(np.unravel_index(np.array(keys, dtype=int), (100, x, y, z)), axis=1).reshape(-1, 4)
    xyz = (places[:, 1:] + rng.uniform(0, 1, (len(places), 3))) * VOXELS.voxel + VOXELS.lower
    rest = rng.uniform((0, 0), (255, 0.5), (len(places), 2))
    return torch.from_numpy(np.hstack([xyz, rest])).float(), torch.from_numpy(places)


@each("lidar_encoders")
def test_a_lidar_encoder_tells_the_width_and_stride_of_its_map(name):
    encoder = build("lidar_encoders", name, 5, VOXELS)
    bev = encoder(*random_voxels([0, 1]), 2)
    x, y, _ = VOXELS.size
    assert bev.shape == (2, encoder.out_channels, x // encoder.stride, y // encoder.stride)
    assert bev.isfinite().all()


@each("lidar_encoders")
@pytest.mark.parametrize("training", [False, True])
def test_frames_without_a_voxel_get_zeros(name, training):
    encoder = build("lidar_encoders", name, 5, VOXELS).train(training)
    for frames, size in (([1, 3], 5), ([], 2)):
        bev = encoder(*random_voxels(frames), size)
        assert (bev.flatten(1) != 0).any(dim=1).tolist() == [frame in frames for frame in range(size)]


@each("lidar_encoders")
def test_a_single_voxel_survives_training(name):
    encoder = build("lidar_encoders", name, 5, VOXELS).train()
    features, places = random_voxels([0])
    assert encoder(features[:1], places[:1], 2).isfinite().all()
    assert all(value.isfinite().all() for value in encoder.state_dict().values())


@each("lidar_encoders")
def test_frames_of_a_batch_are_encoded_as_if_alone(name):
    encoder = build("lidar_encoders", name, 5, VOXELS)
    features, places = random_voxels([0, 1, 2])
    together = encoder(features, places, 3)
    for frame in range(3):
        rows = places[:, 0] == frame
        alone = encoder(features[rows], places[rows] * torch.tensor([0, 1, 1, 1]), 1)
        torch.testing.assert_close(together[frame : frame + 1], alone, rtol=1e-4, atol=1e-5)


@each("lidar_encoders")
def test_the_order_of_the_voxels_does_not_matter(name):
    encoder = build("lidar_encoders", name, 5, VOXELS)
    features, places = random_voxels([0, 1])
    order = torch.randperm(len(places))
    torch.testing.assert_close(encoder(features, places, 2), encoder(features[order], places[order], 2))


@each("lidar_encoders")
@pytest.mark.parametrize("column", range(5))
def test_every_column_of_a_point_matters(name, column):
    encoder = build("lidar_encoders", name, 5, VOXELS)
    features, places = random_voxels([0])
    changed = features.clone()
    changed[:, column] *= 0.9
    assert not torch.allclose(encoder(features, places, 1), encoder(changed, places, 1))


@each("lidar_encoders")
@pytest.mark.parametrize("place", [(3, 5, 2), (40, 3, 7), (20, 27, 0)], ids=str)
def test_a_voxel_shows_on_the_map_where_it_is(name, place):
    encoder = build("lidar_encoders", name, 5, VOXELS)
    features, places = random_voxels([0])
    moved = torch.tensor([[0, *place]])
    point = torch.tensor([[*((np.array(place) + 0.5) * VOXELS.voxel + VOXELS.lower), 100.0, 0.0]]).float()
    others = (places != moved).any(dim=1)
    features, places = features[others], places[others]
    more = encoder(torch.cat([features, point]), torch.cat([places, moved]), 1)
    change = (more - encoder(features, places, 1))[0].abs().sum(dim=0)
    strongest = torch.tensor(np.unravel_index(int(change.argmax()), change.shape))
    assert change.max() > 1e-3
    assert (strongest - torch.tensor(place[:2]) / encoder.stride).abs().max() < 2


@each("lidar_encoders")
def test_gradients_reach_all_of_a_lidar_encoder(name):
    encoder = build("lidar_encoders", name, 5, VOXELS)
    assert_gradients_everywhere(encoder, encoder(*random_voxels([0, 1]), 2))


@each("lidar_encoders")
def test_a_lidar_encoder_refuses_points_of_another_width(name):
    features, places = random_voxels([0])
    with pytest.raises((InputError, RuntimeError)):
        build("lidar_encoders", name, 5, VOXELS)(features[:, :4], places, 1)


# Image backbones: images -> feature maps, finest first


@each("image_backbones")
@pytest.mark.parametrize("count", [1, 3])
def test_a_backbone_tells_the_widths_and_strides_of_its_maps(name, count):
    backbone = build("image_backbones", name)
    features = backbone(torch.randn(count, 3, 64, 96))
    assert list(backbone.strides) == sorted(backbone.strides)
    for level, channels, stride in zip(features, backbone.out_channels, backbone.strides, strict=True):
        assert level.shape == (count, channels, 64 // stride, 96 // stride)
        assert level.isfinite().all()


@each("image_backbones")
def test_gradients_reach_all_of_a_backbone(name):
    backbone = build("image_backbones", name)
    assert_gradients_everywhere(backbone, *backbone(torch.randn(2, 3, 64, 64)))


@each("image_backbones")
def test_a_backbone_refuses_images_that_are_not_rgb(name):
    with pytest.raises((InputError, RuntimeError)):
        build("image_backbones", name)(torch.randn(1, 1, 64, 64))


# Image necks: the backbone's maps -> one


NECK_INPUT = ([8, 12, 20], [8, 16, 32])


def neck_features(channels: list[int], sizes: list[tuple[int, int]]) -> list[Tensor]:
    return [torch.randn(2, width, *size) for width, size in zip(channels, sizes, strict=True)]


@each("image_necks")
@pytest.mark.parametrize("levels", [2, 3])
def test_a_neck_tells_the_width_and_stride_of_its_map(name, levels):
    channels, strides = (values[:levels] for values in NECK_INPUT)
    neck = build("image_necks", name, channels, strides)
    out = neck(neck_features(channels, [(64 // stride, 96 // stride) for stride in strides]))
    assert out.shape == (2, neck.out_channels, 64 // neck.stride, 96 // neck.stride)


@each("image_necks")
def test_a_neck_takes_maps_whose_sizes_were_rounded_up(name):
    neck = build("image_necks", name, *NECK_INPUT)
    out = neck(neck_features(NECK_INPUT[0], [(5, 7), (3, 4), (2, 2)]))
    assert neck.stride == 8
    assert out.shape == (2, neck.out_channels, 5, 7)


@each("image_necks")
def test_gradients_reach_all_of_a_neck_and_all_levels(name):
    neck = build("image_necks", name, *NECK_INPUT)
    features = [level.requires_grad_() for level in neck_features(NECK_INPUT[0], [(8, 12), (4, 6), (2, 3)])]
    assert_gradients_everywhere(neck, neck(features))
    assert all(level.grad.abs().sum() > 0 for level in features)


@each("image_necks")
def test_a_neck_refuses_a_missing_level(name):
    neck = build("image_necks", name, *NECK_INPUT)
    with pytest.raises((InputError, RuntimeError, ValueError)):
        neck(neck_features(NECK_INPUT[0], [(8, 12), (4, 6), (2, 3)])[:2])


# View transforms: image features -> camera map


def view_features(batch: Batch) -> Tensor:
    return torch.randn(len(batch.images), 10, IMAGE_SIZE[1] // STRIDE, IMAGE_SIZE[0] // STRIDE)


@each("view_transforms")
def test_a_view_transform_fills_its_grid(name):
    transform = build("view_transforms", name, 10, STRIDE, IMAGE_SIZE)
    batch = random_batch([0, 0, 1], size=2)
    bev = transform(view_features(batch), batch)
    assert bev.shape == (2, transform.out_channels, transform.grid.size_x, transform.grid.size_y)
    assert bev.isfinite().all()
    assert (bev.flatten(1) != 0).any(dim=1).all()


@each("view_transforms")
def test_frames_without_a_camera_get_zeros(name):
    transform = build("view_transforms", name, 10, STRIDE, IMAGE_SIZE)
    batch = random_batch([1, 3, 3], size=5)
    bev = transform(view_features(batch), batch)
    assert (bev.flatten(1) != 0).any(dim=1).tolist() == [False, True, False, True, False]


@each("view_transforms")
def test_frames_of_a_batch_are_transformed_as_if_alone(name):
    transform = build("view_transforms", name, 10, STRIDE, IMAGE_SIZE)
    batch = random_batch([0, 1, 1, 1, 2, 2], size=3)
    features = view_features(batch)
    together = transform(features, batch)
    for frame in range(3):
        alone, rows = one_frame(batch, frame)
        torch.testing.assert_close(together[frame : frame + 1], transform(features[rows], alone), rtol=1e-4, atol=1e-5)


@each("view_transforms")
def test_gradients_reach_all_of_a_view_transform_and_its_features(name):
    transform = build("view_transforms", name, 10, STRIDE, IMAGE_SIZE)
    batch = random_batch([0, 0, 1], size=2)
    features = view_features(batch).requires_grad_()
    assert_gradients_everywhere(transform, transform(features, batch))
    assert (features.grad.flatten(1).abs().sum(dim=1) > 0).all()


@each("view_transforms")
def test_a_view_transform_refuses_features_of_another_width(name):
    batch = random_batch([0], size=1)
    with pytest.raises((InputError, RuntimeError)):
        build("view_transforms", name, 7, STRIDE, IMAGE_SIZE)(view_features(batch), batch)


# Decorations: points and image features -> what points are told


def points_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """All points of a batch, and the frame of each."""
    frames = [torch.full((len(cloud),), frame) for frame, cloud in enumerate(batch.clouds)]
    return torch.cat([cloud[:, :3] for cloud in batch.clouds]), torch.cat(frames)


@each("decorations")
def test_points_are_told_numbers_from_0_to_1_and_those_no_image_shows_zeros(name):
    decoration = build("decorations", name, 10, STRIDE, IMAGE_SIZE)
    batch = random_batch([0, 0, 2], size=4)
    points, frames = points_of(batch)
    told = decoration(view_features(batch), points, frames, batch)
    assert told.shape == (len(points), decoration.out_channels)
    assert ((told >= 0) & (told <= 1)).all()
    shown = (told != 0).any(dim=1)
    assert [bool(shown[frames == frame].any()) for frame in range(4)] == [True, False, True, False]
    assert not shown.all()
    unseen = decoration(None, points, frames, batch)
    assert unseen.shape == told.shape
    assert not unseen.any()


@each("decorations")
def test_no_points_are_told_nothing(name):
    decoration = build("decorations", name, 10, STRIDE, IMAGE_SIZE)
    batch = random_batch([0], size=1)
    told = decoration(view_features(batch), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), batch)
    assert told.shape == (0, decoration.out_channels)


@each("decorations")
def test_points_of_a_batch_are_told_the_same_as_if_their_frame_were_alone(name):
    decoration = build("decorations", name, 10, STRIDE, IMAGE_SIZE)
    batch = random_batch([0, 1, 1, 2], size=3)
    features, (points, frames) = view_features(batch), points_of(batch)
    together = decoration(features, points, frames, batch)
    for frame in range(3):
        alone, rows = one_frame(batch, frame)
        expected = decoration(features[rows], *points_of(alone), alone)
        torch.testing.assert_close(together[frames == frame], expected)


@each("decorations")
def test_gradients_reach_all_of_a_decoration_and_its_features(name):
    decoration = build("decorations", name, 10, STRIDE, IMAGE_SIZE)
    batch = random_batch([0, 0, 1], size=2)
    features = view_features(batch).requires_grad_()
    assert_gradients_everywhere(decoration, decoration(features, *points_of(batch), batch))
    assert (features.grad.flatten(1).abs().sum(dim=1) > 0).all()


@each("decorations")
def test_a_decoration_refuses_features_of_another_width(name):
    batch = random_batch([0], size=1)
    with pytest.raises((InputError, RuntimeError)):
        build("decorations", name, 7, STRIDE, IMAGE_SIZE)(view_features(batch), *points_of(batch), batch)


# Fusers: camera map and LiDAR map -> one


@each("fusers")
@pytest.mark.parametrize("size", [(6, 9), (1, 1)], ids=str)
def test_a_fuser_keeps_the_maps_size(name, size):
    fuser = build("fusers", name, 5, 7)
    assert fuser(torch.randn(2, 5, *size), torch.randn(2, 7, *size)).shape == (2, fuser.out_channels, *size)


@each("fusers")
def test_both_sensors_matter_and_either_may_be_missing(name):
    fuser = build("fusers", name, 5, 7)
    camera, lidar = torch.randn(2, 5, 6, 9), torch.randn(2, 7, 6, 9)
    outputs = [fuser(camera, lidar), fuser(camera, 0 * lidar), fuser(0 * camera, lidar), fuser(0 * camera, 0 * lidar)]
    assert all(out.isfinite().all() for out in outputs)
    assert all(not torch.allclose(outputs[i], outputs[j]) for i in range(4) for j in range(i))


def maps_of_all_states(repeats: int = 1) -> tuple[Tensor, Tensor]:
    """Camera and LiDAR maps of frames with both sensors, with one only, and with none."""
    camera, lidar = torch.randn(4 * repeats, 5, 6, 9), torch.randn(4 * repeats, 7, 6, 9)
    camera[1::4], lidar[2::4] = 0, 0
    camera[3::4], lidar[3::4] = 0, 0
    return camera, lidar


@each("fusers")
def test_gradients_reach_all_of_a_fuser_and_both_maps_of_every_state(name):
    fuser = build("fusers", name, 5, 7)
    camera, lidar = (map_.requires_grad_() for map_ in maps_of_all_states(repeats=2))
    assert_gradients_everywhere(fuser, fuser(camera, lidar))
    assert (camera.grad[::2].flatten(1).abs().sum(dim=1) > 0).all()
    assert (lidar.grad[[0, 1, 4, 5]].flatten(1).abs().sum(dim=1) > 0).all()


@each("fusers")
def test_frames_of_a_batch_are_fused_as_if_alone_whatever_others_lack(name):
    fuser = build("fusers", name, 5, 7)
    camera, lidar = maps_of_all_states()
    together = fuser(camera, lidar)
    for row in range(4):
        alone = fuser(camera[row : row + 1], lidar[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


@each("fusers")
def test_a_trained_fuser_has_no_chance_in_it(name):
    fuser = build("fusers", name, 5, 7)
    maps = maps_of_all_states()
    assert torch.equal(fuser(*maps), fuser(*maps))


@each("fusers")
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [1, 1], [2, 2], [3, 3]], ids=["all", "no camera", "no LiDAR", "none"])
def test_a_fuser_trains_a_step_whatever_its_batch_lacks(name, rows):
    fuser = small_settings("fusers", name).build(5, 7).train()
    camera, lidar = (map_[rows] for map_ in maps_of_all_states())
    optimizer = torch.optim.SGD(fuser.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        fused = fuser(camera, lidar)
        (fused - torch.ones_like(fused)).square().mean().backward()
        optimizer.step()
    assert all(value.isfinite().all() for value in fuser.state_dict().values())
    assert fuser.eval()(*maps_of_all_states()).isfinite().all()


@each("fusers")
def test_a_fuser_learns_from_both_sensors(name):
    """Sums of numbers that only the camera knows and others that only the LiDAR knows."""
    fuser = small_settings("fusers", name).build(5, 7).train()
    optimizer = torch.optim.Adam(fuser.parameters(), lr=0.01)
    camera, lidar = torch.randn(4, 5, 6, 9).relu(), torch.randn(4, 7, 6, 9).relu()
    wanted = camera + lidar[:, :5]

    def error(camera: Tensor, lidar: Tensor) -> Tensor:
        return (fuser(camera, lidar)[:, :5] - wanted).square().mean()

    for _ in range(120):
        optimizer.zero_grad()
        error(camera, lidar).backward()
        optimizer.step()
    with torch.no_grad():
        others = error(camera.flip(0), lidar), error(camera, lidar.flip(0))
        assert error(camera, lidar) < 0.7 * min(others), "what either sensor says must be of use"


@each("fusers")
def test_a_fuser_works_in_bfloat16_too(name):
    fuser = build("fusers", name, 5, 7)
    maps = maps_of_all_states()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = fuser(*maps).float()
    torch.testing.assert_close(rounded, fuser(*maps), rtol=0.1, atol=0.15)


def fusers_with_a_loss() -> list[str]:
    return [name for name in NAMES["fusers"] if hasattr(small_settings("fusers", name).build(5, 7), "auxiliary")]


def test_there_are_fusers_with_a_loss_of_their_own():
    assert fusers_with_a_loss()


@pytest.mark.parametrize("name", fusers_with_a_loss())
def test_a_fusers_own_loss_counts_frames_with_both_sensors_and_leaves_the_branches_alone(name):
    fuser = small_settings("fusers", name).build(5, 7)
    camera, lidar = (map_.requires_grad_() for map_ in maps_of_all_states(repeats=2))
    terms = fuser.auxiliary(camera, lidar)
    none = fuser.auxiliary(camera[1::4], lidar[1::4])
    assert terms.keys() == none.keys()
    assert all(count == 2 and total > 0 for total, count in terms.values())
    assert all(count == 0 and total == 0 for total, count in none.values())
    before = fuser.state_dict()["fuser.adapt.bn.running_mean"].clone()
    sum(total for total, _ in terms.values()).backward()
    assert camera.grad is None
    assert lidar.grad is None
    assert torch.equal(fuser.state_dict()["fuser.adapt.bn.running_mean"], before)


@pytest.mark.parametrize("name", fusers_with_a_loss())
def test_a_map_that_is_missing_is_guessed_better_than_by_zeros_or_the_mean(name):
    """The camera's map is a blurred function of the LiDAR's: what can be known is learnt."""
    fuser = small_settings("fusers", name).build(5, 7).train()
    optimizer = torch.optim.Adam(fuser.parameters(), lr=0.01)
    lidar = torch.nn.functional.interpolate(torch.randn(6, 7, 3, 3), size=(12, 12), mode="bilinear")
    camera = lidar[:, :5] + 0.5 * lidar[:, 2:]
    for _ in range(120):
        loss = sum(total / count for total, count in fuser.auxiliary(camera, lidar).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        left = (fuser.eval().guess("camera", lidar) - camera).square().mean()
    assert left < 0.5 * camera.var()


@each("fusers")
def test_a_fuser_refuses_maps_of_different_sizes(name):
    with pytest.raises((InputError, RuntimeError)):
        build("fusers", name, 5, 7)(torch.randn(2, 5, 6, 9), torch.randn(2, 7, 6, 8))


# Late: two lists of boxes -> one


def random_boxes(count: int, seed: int) -> Boxes3D:
    rng = np.random.default_rng(seed)
    velocities = rng.uniform(-5, 5, (count, 2)).astype(np.float32)
    velocities[::4] = np.nan
    columns = (rng.uniform(-30, 30, (count, 3)), rng.uniform(0.5, 5, (count, 3)), rng.uniform(-3.1, 3.1, count))
    floats = (column.astype(np.float32) for column in columns)
    scores, labels = rng.uniform(0, 1, count).astype(np.float32), rng.integers(0, len(CLASSES), count)
    return Boxes3D(*floats, velocities, scores, labels, CLASSES)


@each("late")
def test_whichever_boxes_there_are_those_fused_are_legal(name):
    late = small_settings("late", name).build()
    some, others, none = random_boxes(9, 0), random_boxes(7, 1), Boxes3D.empty(CLASSES)
    pairs = [(some, others), (some, None), (None, others), (some, none), (none, others), (none, none), (some, some)]
    for main, camera in pairs:
        fused = late(main, camera)
        assert len(fused) <= sum(len(boxes) for boxes in (main, camera) if boxes is not None)
        assert ((fused.scores >= 0) & (fused.scores <= 1)).all()
        assert (fused.sizes > 0).all()
        assert all(np.isfinite(values).all() for values in (fused.centers, fused.sizes, fused.yaws))
        assert fused.class_names == CLASSES


@each("late")
def test_fusing_boxes_changes_none_of_those_given(name):
    main, camera = random_boxes(9, 0), random_boxes(7, 1)
    small_settings("late", name).build()(main, camera)
    for boxes, same in ((main, random_boxes(9, 0)), (camera, random_boxes(7, 1))):
        for field in ("centers", "sizes", "yaws", "velocities", "scores", "labels"):
            np.testing.assert_array_equal(getattr(boxes, field), getattr(same, field))


# Heads: map -> raw outputs -> boxes


@each("heads")
def test_a_head_hands_on_a_frozen_dataclass_with_a_heatmap_of_every_class(name):
    outputs = build("heads", name, 10, GRID, CLASSES)(torch.randn(2, 10, 24, 16))
    assert dataclasses.is_dataclass(outputs)
    with pytest.raises(dataclasses.FrozenInstanceError):
        outputs.heatmap = None
    assert outputs.heatmap.shape == (2, len(CLASSES), 24, 16)
    assert all(getattr(outputs, field.name).isfinite().all() for field in dataclasses.fields(outputs))


@each("heads")
def test_a_head_decodes_boxes_of_every_frame(name):
    head = build("heads", name, 10, GRID, CLASSES)
    with torch.inference_mode():
        found = head.decode(head(torch.randn(3, 10, 24, 16)))
    assert len(found) == 3
    for boxes in found:
        assert len(boxes)
        assert boxes.class_names == CLASSES
        assert boxes.frame == "lidar"
        assert boxes.labels.dtype == np.int64
        assert set(boxes.labels) <= set(range(len(CLASSES)))
        assert ((boxes.scores >= 0) & (boxes.scores <= 1)).all()
        assert (boxes.sizes > 0).all()
        for values in (boxes.centers, boxes.sizes, boxes.yaws, boxes.velocities):
            assert np.isfinite(values).all()


@each("heads")
def test_no_frames_give_no_boxes(name):
    head = build("heads", name, 10, GRID, CLASSES)
    with torch.inference_mode():
        assert head.decode(head(torch.randn(0, 10, 24, 16))) == []


@each("heads")
def test_frames_of_a_batch_are_decoded_as_if_alone(name):
    head = build("heads", name, 10, GRID, CLASSES)
    bev = torch.randn(2, 10, 24, 16)
    with torch.inference_mode():
        together = head.decode(head(bev))
        alone = [head.decode(head(bev[frame : frame + 1]))[0] for frame in range(2)]
    for boxes, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(boxes.labels, expected.labels)
        np.testing.assert_allclose(boxes.centers, expected.centers, atol=1e-4)
        np.testing.assert_allclose(boxes.scores, expected.scores, atol=1e-5)


@each("heads")
def test_gradients_reach_all_of_a_head_and_its_map(name):
    head = build("heads", name, 10, GRID, CLASSES)
    bev = torch.randn(2, 10, 24, 16, requires_grad=True)
    outputs = head(bev)
    fields = [getattr(outputs, field.name) for field in dataclasses.fields(outputs)]
    assert_gradients_everywhere(head, *(field for field in fields if field.requires_grad))
    assert bev.grad.abs().sum() > 0


@each("heads")
def test_a_head_refuses_a_map_of_another_width(name):
    with pytest.raises((InputError, RuntimeError)):
        build("heads", name, 10, GRID, CLASSES)(torch.randn(1, 9, 24, 16))
