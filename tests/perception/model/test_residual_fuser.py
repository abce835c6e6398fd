"""The residual fuser starts as the LiDAR detector, and is it wherever no camera sees anything."""

import torch

from perception.config import parse_config
from perception.model.fusers.residual import Settings
from perception.model.network import Network
from perception.prepare import prepare
from tests.tiny import settled, tiny_config, tiny_data, tiny_frame, tiny_network


def test_an_untrained_fuser_hands_on_the_lidar_map():
    fuser = Settings().build(5, 7)
    camera, lidar = torch.randn(2, 5, 6, 9), torch.randn(2, 7, 6, 9)
    assert torch.equal(fuser(camera, lidar), lidar)


def test_training_leaves_that_start():
    fuser = Settings().build(5, 7)
    optimizer = torch.optim.SGD(fuser.parameters(), lr=0.1)
    camera, lidar, wanted = torch.randn(2, 5, 6, 9), torch.randn(2, 7, 6, 9), torch.randn(2, 7, 6, 9)
    before = fuser.adapt.conv.weight.clone()
    for _ in range(2):
        optimizer.zero_grad()
        (fuser(camera, lidar) - wanted).square().mean().backward()
        optimizer.step()
    assert fuser.gain.all()
    assert not torch.equal(fuser.adapt.conv.weight, before)


def test_a_frame_without_a_camera_keeps_its_lidar_map_after_training_too():
    fuser = settled(Settings().build(5, 7)).eval()
    camera, lidar = torch.randn(3, 5, 6, 9), torch.randn(3, 7, 6, 9)
    camera[1] = 0
    same = (fuser(camera, lidar) == lidar).flatten(1).all(dim=1)
    assert same.tolist() == [False, True, False]


def test_a_fused_detector_starts_as_the_lidar_detector_whose_weights_it_takes():
    lidar = tiny_network(tiny_config(cameras=False))
    fused_config = parse_config(tiny_data() | {"fuser": {"name": "residual"}})
    fused = settled_but_for_the_gain(Network(fused_config))
    missing = fused.load_state_dict(lidar.state_dict(), strict=False)
    assert not missing.unexpected_keys
    with torch.inference_mode():
        together = fused(prepare([tiny_frame(0)], fused_config))
        alone = lidar(prepare([tiny_frame(0)], tiny_config(cameras=False)))
    torch.testing.assert_close(together.heatmap, alone.heatmap)


def settled_but_for_the_gain(network: Network) -> Network:
    settled(network)
    torch.nn.init.zeros_(network.fuser.gain)
    return network.eval()
