"""Levels of fusion: points, maps, boxes, and all of them at once; any sensor may be missing at each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from calibration.errors import InputError
from perception.config import DetectorConfig, parse_config
from perception.detector import Detector
from perception.model.network import Network
from perception.model.precision import in_float32
from perception.prepare import prepare
from perception.training.examples import ExampleMaker, merged
from perception.training.settings import TrainingSettings
from perception.training.trainee import Trainee, start_from
from tests.perception.model.test_network import SOME_FRAMES
from tests.perception.training.scenes import scene
from tests.tiny import HEADS, settled, tiny_config, tiny_data, tiny_frame, tiny_network

PILLARS = {"lidar_encoder": {"name": "pillars", "channels": 4, "stage_channels": [8]}}
DECORATION = {"decoration": {"name": "image_features", "channels": 3}}
LATE = {"late": {"name": "boxes"}}
FALLBACK = {"late": {"name": "fallback"}}


def without(data: dict, *sections: str) -> dict:
    return {name: section for name, section in data.items() if name not in sections}


LEVELS = {
    "early": without(tiny_data() | DECORATION, "fuser", "view_transform"),
    "early, pillars": without(tiny_data() | DECORATION | PILLARS, "fuser", "view_transform"),
    "early and maps": tiny_data() | DECORATION,
    "late": without(tiny_data() | LATE, "fuser"),
    "maps and late": tiny_data() | LATE,
    "one or the other": without(tiny_data() | FALLBACK, "fuser"),
    "maps or the cameras": tiny_data() | FALLBACK,
    "hybrid": tiny_data() | DECORATION | LATE,
    "queries": without(tiny_data(), "fuser", "view_transform"),
    "queries and maps": tiny_data(),
    "completed": tiny_data() | {"fuser": {"name": "completed", "fuser": {"name": "residual"}}},
    "completed by VAE": tiny_data() | {"fuser": {"name": "completed_vae"}},
}
levels = pytest.mark.parametrize("level", LEVELS)


def config_of(level: str, head: str = "transfusion") -> DetectorConfig:
    return parse_config(LEVELS[level] | {"head": HEADS["query" if level.startswith("queries") else head]})


@levels
@pytest.mark.parametrize("head", ["transfusion", "centerpoint"])
def test_whatever_frames_of_a_batch_lack_boxes_are_finite(level, head):
    config = config_of(level, head)
    detector = Detector(config, tiny_network(config))
    found = detector.detect(list(SOME_FRAMES.values()))
    assert len(found) == len(SOME_FRAMES)
    for boxes in found:
        assert all(np.isfinite(v).all() for v in (boxes.centers, boxes.sizes, boxes.yaws, boxes.scores))
    assert len(found[0])
    assert len(found[-1]) == 0  # of the frame with nothing


@levels
def test_both_sensors_matter(level):
    config = config_of(level)
    detector = Detector(config, tiny_network(config))
    whole, blind, deaf = detector.detect([tiny_frame(0), tiny_frame(0, cameras=()), tiny_frame(0, points=None)])
    assert len(whole)
    for other in (blind, deaf):
        assert len(other) != len(whole) or not np.allclose(other.scores, whole.scores, atol=1e-6)


@levels
def test_frames_are_seen_as_if_alone(level):
    config = config_of(level)
    detector = Detector(config, tiny_network(config))
    frames = [SOME_FRAMES[name] for name in ("whole", "no camera", "another")]
    for together, frame in zip(detector.detect(frames), frames, strict=True):
        alone = detector(frame)
        np.testing.assert_allclose(np.sort(together.scores)[-5:], np.sort(alone.scores)[-5:], atol=1e-4)


@levels
def test_every_weight_learns(level):
    config = config_of(level, "centerpoint").model_copy(update={"training": TrainingSettings()})
    torch.manual_seed(0)
    trainee = Trainee(config).train()
    settled(trainee.network)
    make = ExampleMaker(config)
    scenes = [scene(0), scene(1), scene(2, cameras=())]
    frames = [*scenes, replace(scene(3), cloud=None)]
    example = merged([make(frame, np.random.default_rng(seed)) for seed, frame in enumerate(frames)])
    totals, counts = trainee(example)
    assert len(totals) == len(counts) == len(trainee.names) == len(set(trainee.names))
    totals.sum().backward()
    gradients = {name: p.grad for name, p in trainee.named_parameters()}
    assert None not in gradients.values()
    # Those of a bias may cancel out: L1's are 1 and -1.
    assert not [name for name, gradient in gradients.items() if not name.endswith("bias") and not gradient.any()]


def test_a_decorated_detector_starts_as_the_lidar_detector():
    lidar = tiny_network(parse_config(tiny_data(cameras=False) | PILLARS))
    config = config_of("early, pillars")
    decorated = Network(config).eval()
    assert start_from(decorated, [lidar.state_dict()]) == len(lidar.state_dict())
    with torch.inference_mode():
        ours = decorated(prepare([tiny_frame(0)], config)).heatmap
        theirs = lidar(prepare([tiny_frame(0)], parse_config(tiny_data(cameras=False) | PILLARS))).heatmap
    torch.testing.assert_close(ours, theirs)


def test_queries_start_as_transfusions_and_are_so_without_cameras():
    plain, config = tiny_network(tiny_config(cameras=False)), config_of("queries")
    looking = Network(config).eval()
    assert start_from(looking, [plain.state_dict()]) == len(plain.state_dict())
    with torch.inference_mode():
        expected = plain(prepare([tiny_frame(0)], tiny_config(cameras=False)))
        torch.testing.assert_close(looking(prepare([tiny_frame(0)], config)).logits, expected.logits)
        torch.nn.init.ones_(looking.head.image_decoder.gain)
        torch.testing.assert_close(
            looking(prepare([replace(tiny_frame(0), cameras={})], config)).logits, expected.logits
        )
        assert not torch.allclose(looking(prepare([tiny_frame(0)], config)).logits, expected.logits)


def test_an_image_token_knows_the_points_along_its_ray():
    config = config_of("queries")
    decoder, batch = Network(config).head.image_decoder, prepare([tiny_frame(0)], config)
    points = decoder.rays(batch.images, batch, torch.Size((4, 11))).view(6, 44, -1, 3) * decoder.reach
    for image in range(6):
        in_camera = points[image].double() @ batch.camera_from_lidar[image, :3, :3].T
        in_camera = in_camera + batch.camera_from_lidar[image, :3, 3]
        torch.testing.assert_close(in_camera[..., 2], decoder.depths.double().expand(44, -1), rtol=1e-4, atol=1e-4)
        pixels = in_camera @ (batch.input_from_image[image] @ batch.image_from_camera[image]).T
        u, v = (pixels[..., :2] / pixels[..., 2:]).unbind(dim=-1)
        torch.testing.assert_close(u[0], torch.full_like(u[0], 3.5), rtol=0, atol=0.01)  # the first of 11 on 88 px
        torch.testing.assert_close(v[-1], torch.full_like(v[-1], 27.5), rtol=0, atol=0.01)  # the last of 4 on 32 px


def test_boxes_that_are_fused_are_those_of_two_trained_detectors():
    """Without any training: each stream takes a detector's weights and finds what it finds."""
    lidar, camera = tiny_network(tiny_config(cameras=False)), tiny_network(tiny_config(lidar=False), seed=1)
    data = LEVELS["late"]
    config = parse_config(data | {"view_transform": data["view_transform"] | {"name": "lss"}})
    for order in ([lidar, camera], [camera, lidar]):
        both = Network(config).eval()
        weights = [network.state_dict() for network in order]
        assert start_from(both, weights) == len(both.state_dict()) == sum(map(len, weights))
        with torch.inference_mode():
            outputs = both(prepare([tiny_frame(0)], config))
            alone = [
                network(prepare([tiny_frame(0)], tiny_config(*branches)))
                for network, branches in ((lidar, (False, True)), (camera, (True, False)))
            ]
        torch.testing.assert_close(outputs.main.heatmap, alone[0].heatmap)
        torch.testing.assert_close(outputs.camera.heatmap, alone[1].heatmap)


def test_a_stream_whose_sensor_is_missing_has_no_say():
    config = config_of("late", "centerpoint")
    network = tiny_network(config)
    with torch.inference_mode():
        outputs = in_float32(network(prepare([tiny_frame(0, points=None), tiny_frame(0, cameras=())], config)))
        no_cloud, no_camera = network.decode(outputs)
        camera, main = network.camera_stream["head"].decode(outputs.camera)[0], network.head.decode(outputs.main)[1]
    np.testing.assert_allclose(np.sort(no_cloud.scores), np.sort(camera.scores), atol=1e-5)
    np.testing.assert_allclose(np.sort(no_camera.scores), np.sort(main.scores), atol=1e-5)


def test_with_points_the_fallback_is_the_lidars_detector_and_without_the_cameras():
    lidar, camera = tiny_config(cameras=False), tiny_config(lidar=False)
    networks = [tiny_network(lidar), tiny_network(camera, seed=1)]
    config = config_of("one or the other")
    both = Network(config).eval()
    for network in networks:
        start_from(both, [network.state_dict()])
    start_from(both, [network.state_dict() for network in networks])
    detector, frame = Detector(config, both), tiny_frame(0)
    alone = Detector(lidar, networks[0])
    no_cloud = replace(frame, cloud=None)
    calls = []
    hook = both.camera_branch.backbone.register_forward_hook(lambda *_: calls.append(1))
    np.testing.assert_array_equal(detector(frame).scores, alone(frame).scores)
    assert not calls
    assert len(detector(no_cloud))
    assert calls
    hook.remove()
    mixed = detector.detect([frame, no_cloud, replace(no_cloud, cameras={})])
    np.testing.assert_allclose(mixed[0].scores, alone(frame).scores, atol=1e-5)
    np.testing.assert_allclose(mixed[1].scores, detector(no_cloud).scores, atol=1e-5)
    assert not len(mixed[2])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiny_data(cameras=False) | DECORATION, "decoration where there are two branches"),
        (tiny_data(cameras=False) | {"head": {"name": "query"}}, "a camera branch where head is query"),
        (tiny_data(lidar=False) | LATE, "late where there are two branches"),
        (without(tiny_data() | DECORATION, "fuser"), "a fuser where there are two branches"),
        (tiny_data() | {"fuser": {"name": "completed", "fuser": {"name": "completed_vae"}}}, "guesses no map itself"),
        (without(tiny_data() | LATE, "view_transform"), "all of images"),
        (without(tiny_data() | DECORATION, "view_transform"), "a fuser where there are two branches"),
    ],
)
def test_levels_that_do_not_fit_each_other_are_refused(data, expected):
    with pytest.raises(InputError, match=expected):
        parse_config(data)
