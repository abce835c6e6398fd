"""The sparse encoder: what is done in one pass where nothing is learned, and how its map is laid out."""

import pytest
import torch

from perception.model.lidar_encoders.sparse import Settings, SparseEncoder, _bird_view
from tests.perception.ops.voxels import random_tensor


@pytest.fixture
def encoder() -> SparseEncoder:
    """In evaluation, with statistics as training leaves them."""
    torch.manual_seed(0)
    settings = Settings(stage_channels=(8, 16), down_padding_z=(1,), out_channels=12)
    encoder = SparseEncoder(5, (16, 12, 9), settings)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return encoder.eval()


def cloud(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The encoder's arguments."""
    tensor = random_tensor(0, (16, 12, 9), channels=5, dtype=dtype)
    return tensor.features.detach(), tensor.coordinates, tensor.batch


def test_folding_the_norm_changes_nothing_but_rounding(encoder):
    separate = encoder(*cloud())
    assert separate.requires_grad
    with torch.no_grad():
        folded = encoder(*cloud())
    torch.testing.assert_close(folded, separate.detach(), rtol=1e-5, atol=1e-5 * separate.abs().max().item())


def test_bfloat16_is_close(encoder):
    with torch.no_grad():
        exact = encoder(*cloud())
        encoder.precision = torch.bfloat16
        rough = encoder(*cloud())
    assert rough.dtype == torch.bfloat16
    assert torch.linalg.vector_norm(rough - exact) < 0.01 * torch.linalg.vector_norm(exact)


def test_the_order_of_the_voxels_does_not_matter(encoder):
    features, coordinates, batch = cloud()
    order = torch.randperm(len(features))
    with torch.no_grad():
        assert torch.equal(encoder(features[order], coordinates[order], batch), encoder(features, coordinates, batch))


def test_heights_are_folded_into_channels():
    tensor = random_tensor(0, (5, 4, 3), frames=(1,), batch=3)
    expected = tensor.dense().permute(0, 1, 4, 2, 3).flatten(1, 2)
    found = _bird_view(tensor)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
