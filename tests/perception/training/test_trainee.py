"""What is trained, and with which weights: parts that don't learn, averages, starting points, the schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from calibration.errors import InputError
from perception.model import precision
from perception.model.lidar_encoders.pillars import Settings as Pillars
from perception.model.network import Network
from perception.model.refiners.traffic import Settings as Traffic
from perception.model.view_transforms.depth_lss import depth_images
from perception.training.examples import Example, ExampleMaker, merged
from perception.training.one_cycle import at, set_rates
from perception.training.settings import TrainingSettings
from perception.training.trainee import Trainee, WeightAverage, start_from
from tests.perception.training.scenes import scene
from tests.tiny import tiny_config


def trainee(**settings: object) -> Trainee:
    torch.manual_seed(0)
    return Trainee(tiny_config().model_copy(update={"training": TrainingSettings(**settings)})).train()


def two_scenes() -> Example:
    maker = ExampleMaker(tiny_config().model_copy(update={"training": TrainingSettings()}))
    return merged([maker(scene(seed), np.random.default_rng(seed)) for seed in range(2)])


def test_every_weight_of_the_detector_learns():
    trained = trainee()
    totals, counts = trained(two_scenes())
    (totals / counts).sum().backward()
    assert len(totals) == len(counts) == len(trained.names)
    without = [name for name, p in trained.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


def test_bf16_comes_close_to_fp32():
    (exact, _), (rounded, _) = (trainee(precision=p, fixed_norms=True)(two_scenes()) for p in ("fp32", "bf16"))
    assert rounded.dtype == torch.float32
    assert exact[0] != rounded[0]
    torch.testing.assert_close(rounded[0], exact[0], rtol=0.02, atol=0)  # of the heatmap: assignments may change


@pytest.mark.parametrize("bfloat16", [True, False])
def test_auto_is_bf16_where_the_processor_computes_it(monkeypatch: pytest.MonkeyPatch, bfloat16: bool):
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: bfloat16)
    chosen, same = (trainee(precision=p)(two_scenes())[0] for p in ("auto", "bf16" if bfloat16 else "fp32"))
    assert torch.equal(chosen, same)


def test_geometry_stays_in_float32_under_bf16():
    batch, lift = two_scenes().batch, Network(tiny_config()).camera_branch.view_transform
    exact = lift.cells(batch), depth_images(batch, lift.image_size)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lift.cells(batch), exact[0])
        assert torch.equal(depth_images(batch, lift.image_size), exact[1])


def test_channels_last_changes_no_result():
    results = [trainee(channels_last=on, fixed_norms=True)(two_scenes())[0] for on in (True, False)]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_frozen_parts_and_their_statistics_stay():
    part = "camera_branch.view_transform"
    trained = trainee(frozen=[part], rate_factors={"head": 0.1})
    before = {name: t.clone() for name, t in trained.network.state_dict().items() if name.startswith(part)}
    totals, _ = trained(two_scenes())
    totals.sum().backward()
    assert all(p.grad is None for p in trained.network.camera_branch.view_transform.parameters())
    assert trained.network.camera_branch.neck.fpn_convs[0].conv.weight.grad is not None
    after = trained.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_fixed_norms_leave_their_statistics():
    trained = trainee(fixed_norms=True)
    before = {name: t.clone() for name, t in trained.network.state_dict().items() if "running" in name}
    trained(two_scenes())
    assert all(torch.equal(trained.network.state_dict()[name], value) for name, value in before.items())


def test_parts_have_their_own_rates_and_only_matrices_decay():
    trained = trainee(rate_factors={"head": 0.1, "head.decoder": 0.0}, weight_decay=0.5)
    optimizer = torch.optim.AdamW(trained.parameter_groups())
    rate = set_rates(optimizer, trained.settings, done=0.4)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(groups) == len(list(trained.parameters()))
    head = trained.network.head
    for parameter, factor in ((head.shared_conv.weight, 0.1), (head.decoder.norms[0].weight, 0.0)):
        assert groups[id(parameter)]["lr"] == pytest.approx(rate * factor)
    assert groups[id(trained.network.bev_decoder.parameters().__next__())]["lr"] == rate == 1e-3
    assert groups[id(head.shared_conv.weight)]["weight_decay"] == 0.5
    assert groups[id(head.shared_conv.bias)]["weight_decay"] == 0


NO_PART = "camera_branch.backbon"


@pytest.mark.parametrize("settings", [{"frozen": [NO_PART]}, {"rate_factors": {NO_PART: 1}}])
def test_unknown_parts_are_named(settings):
    with pytest.raises(InputError, match=r"'camera_branch\.backbon'; did you mean camera_branch\.backbone\?"):
        trainee(**settings).parameter_groups()


def test_the_average_follows_the_weights():
    layer = nn.BatchNorm1d(2)
    average = WeightAverage(layer, decay=0.9)
    with torch.no_grad():
        layer.weight.fill_(3)
        layer.num_batches_tracked.fill_(7)
    average.update(layer, step=1)  # so early it follows fast: 1 / 11 of the old
    torch.testing.assert_close(average.weights["weight"], torch.full((2,), 1 / 11 + 3 * 10 / 11))
    assert average.weights["num_batches_tracked"] == 7
    for _ in range(200):
        average.update(layer, step=10_000)
    torch.testing.assert_close(average.weights["weight"], torch.full((2,), 3.0))


def test_weights_to_start_from_fill_what_fits():
    fused, lidar = Network(tiny_config()), Network(tiny_config(cameras=False))
    count = start_from(fused, [lidar.state_dict()])
    assert 0 < count < len(fused.state_dict())
    own, theirs = fused.state_dict(), lidar.state_dict()
    branch = [name for name in theirs if name.startswith("lidar_branch.")]
    assert all(torch.equal(own[name], theirs[name]) for name in branch)


def test_inputs_that_the_weights_to_start_from_do_not_know_count_for_nothing():
    tiny = tiny_config(cameras=False)
    tiny = tiny.model_copy(update={"lidar_encoder": Pillars()})
    spans = tiny.points.model_copy(update={"age_edges_s": (0.1, 0.2)})
    before, after = Network(tiny).eval(), Network(tiny.model_copy(update={"points": spans})).eval()
    assert start_from(after, [before.state_dict()]) == len(before.state_dict())
    batch = two_scenes().batch
    with torch.no_grad():
        torch.testing.assert_close(after(batch).heatmap, before(batch).heatmap)


def test_a_refiner_is_taken_whole_or_not_at_all():
    def network(*hears):
        return Network(tiny_config(cameras=False).model_copy(update={"refiners": (Traffic(hears=hears),)}))

    three, two = network("head", "placement", "appearance"), network("head", "placement")
    before = {name: tensor.clone() for name, tensor in three.state_dict().items()}
    names = [name for name in before if name.startswith("refiners.")]
    assert start_from(three, [two.state_dict()]) == len(before) - len(names)
    after = three.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in names)
    other = network("head", "placement", "appearance")
    assert start_from(three, [other.state_dict(), two.state_dict()]) == len(before)
    assert all(torch.equal(three.state_dict()[name], other.state_dict()[name]) for name in names)


def test_a_backbone_starts_from_its_published_weights_unless_others_fill_it():
    fused, camera = Network(tiny_config()), Network(tiny_config(lidar=False))
    asked = []
    fused.camera_branch.backbone.load_pretrained = lambda: asked.append(True)
    start_from(fused, [])
    start_from(fused, [Network(tiny_config(cameras=False)).state_dict()])
    assert len(asked) == 2
    start_from(fused, [camera.state_dict()])
    assert len(asked) == 2


def test_the_learning_rate_rises_to_its_peak_and_falls_to_almost_nothing():
    settings = TrainingSettings(warmup=0.25)
    factors, momenta = zip(*(at(settings, done / 100) for done in range(101)), strict=True)
    assert (factors[0], factors[25], factors[100]) == pytest.approx((0.1, 1, 1e-4))
    assert (momenta[0], momenta[25], momenta[100]) == pytest.approx((0.95, 0.85, 0.95))
    assert np.all(np.diff(factors[:26]) > 0)
    assert np.all(np.diff(factors[25:]) < 0)
