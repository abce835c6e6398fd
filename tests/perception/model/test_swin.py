"""Swin: attention stays inside its windows, whatever the image's size, and images don't influence each other."""

import pytest
import torch
import torch.nn.functional as F

from perception.model.image_backbones.swin import PatchMerging, Settings, WindowAttention, relative_position_index
from perception.ops.window_attention import to_windows, window_order
from tests.tiny import settled

CHANNELS, HEADS = 8, 2


def small_swin(**changes) -> torch.nn.Module:
    small = {"channels": CHANNELS, "depths": (2, 2, 1), "heads": (1, 2, 4), "window": 4, "out_stages": (0, 1, 2)}
    return settled(Settings(**(small | changes)).build()).eval()


def test_windows_are_blocks_of_the_map():
    tokens = torch.randn(2, 8, 12, CHANNELS)
    windows = to_windows(tokens, 4).view(2, 2, 3, 4, 4, CHANNELS)
    for row in range(2):
        for column in range(3):
            block = tokens[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert torch.equal(windows[:, row, column], block)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize(
    ("side", "size"), [(4, (8, 12)), (7, (7, 14)), (4, (9, 7)), (5, (3, 11)), (3, (3, 3))], ids=str
)
def test_windows_are_those_of_the_padded_and_rolled_map_and_lead_back(side, size, shift):
    tokens = torch.randn(3, *size, CHANNELS)
    order = window_order(*size, side, shift, tokens.device)
    padded = F.pad(tokens, (0, 0, 0, -size[1] % side, 0, -size[0] % side))
    assert order.size == padded.shape[1:3]
    expected = to_windows(torch.roll(padded, (-shift, -shift), dims=(1, 2)), side)
    with_padding = F.pad(tokens.flatten(1, 2), (0, 0, 0, 1))  # the last, -1
    windows = with_padding[:, order.there.flatten().long()]
    assert torch.equal(windows.view(-1, side**2, CHANNELS), expected)
    assert torch.equal(windows.index_select(1, order.back).view(tokens.shape), tokens)


def test_what_inference_asked_for_first_serves_training():
    window_order.cache_clear()
    attention, tokens = WindowAttention(CHANNELS, HEADS, window=4, shift=2), torch.randn(1, 5, 6, CHANNELS)
    with torch.inference_mode():
        attention(tokens)
    attention(tokens.requires_grad_()).sum().backward()
    assert torch.isfinite(tokens.grad).all()


def test_a_row_of_the_bias_table_stands_for_one_offset():
    side = 3
    index = relative_position_index(side)
    places = [(i // side, i % side) for i in range(side**2)]
    row_of_offset = {}
    for i, (row, column) in enumerate(places):
        for j, (other_row, other_column) in enumerate(places):
            row_of_offset.setdefault((row - other_row, column - other_column), set()).add(int(index[i, j]))
    rows = [row for rows in row_of_offset.values() for row in rows]
    assert sorted(rows) == list(range((2 * side - 1) ** 2))


def regions(length: int, window: int, shift: int) -> torch.Tensor:
    """Which window each token along an axis is in: shifted, the first and the last window are cut off parts."""
    return (torch.arange(length) - shift).div(window, rounding_mode="floor")


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (9, 7), (4, 4), (3, 5)], ids=str)
def test_a_token_sees_its_own_window_and_nothing_across_the_seam(size, shift):
    attention = WindowAttention(CHANNELS, HEADS, window=4, shift=shift)
    tokens = torch.randn(1, *size, CHANNELS, requires_grad=True)
    out = attention(tokens)
    assert out.shape == tokens.shape
    rows, columns = (regions(length, 4, shift) for length in size)
    for row in range(size[0]):
        for column in range(size[1]):
            (influence,) = torch.autograd.grad(out[0, row, column].sum(), tokens, retain_graph=True)
            seen = influence[0].abs().sum(dim=-1) > 1e-12
            assert torch.equal(seen, (rows == rows[row])[:, None] & (columns == columns[column]))


def test_shifted_blocks_join_what_others_separate():
    """One pixel reaches beyond its window after a pair of blocks, but not to the other end of the image."""
    backbone = small_swin(depths=(2,), heads=(1,), out_stages=(0,))
    images = torch.randn(1, 3, 48, 48, requires_grad=True)
    (features,) = backbone(images)  # 12 x 12 tokens
    token = features[0, :, 4, 4]  # normalised: its plain sum would depend on nothing
    (influence,) = torch.autograd.grad((token * torch.randn(len(token))).sum(), images)
    tokens = influence.abs().sum(dim=1)[0].view(12, 4, 12, 4).sum(dim=(1, 3)) > 1e-12
    # In the shifted window 2-5 it meets tokens that had met windows 0-3 and 4-7 before.
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[:8, :8] = True
    assert torch.equal(tokens, expected)


@pytest.mark.parametrize("size", [(32, 64), (37, 53), (4, 4), (1, 9)], ids=str)
def test_any_size_is_rounded_up(size):
    backbone = small_swin()
    features = backbone(torch.randn(2, 3, *size))
    height, width = (-(-length // 4) for length in size)
    for level, channels, stride in zip(features, backbone.out_channels, backbone.strides, strict=True):
        assert level.shape == (2, channels, height, width)
        assert stride in (4, 8, 16)
        height, width = -(-height // 2), -(-width // 2)


def test_what_is_padded_at_the_right_and_the_bottom_is_zero():
    backbone = small_swin()
    images = torch.randn(1, 3, 30, 41)
    padded = torch.zeros(1, 3, 32, 44)
    padded[..., :30, :41] = images
    torch.testing.assert_close(backbone(images), backbone(padded))


def test_images_of_a_batch_do_not_influence_each_other():
    backbone = small_swin()
    images = torch.randn(3, 3, 40, 56)
    together = backbone(images)
    for i in range(3):
        alone = backbone(images[i : i + 1])
        for level, single in zip(together, alone, strict=True):
            torch.testing.assert_close(level[i : i + 1], single, rtol=1e-4, atol=1e-5)


def test_training_follows_inference_at_the_same_size():
    backbone = small_swin()
    images = torch.randn(1, 3, 40, 24)  # a size that no other test has used: what is cached is made in inference mode
    with torch.inference_mode():
        backbone(images)
    sum(level.sum() for level in backbone.train()(images)).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_merging_finalised_is_the_same():
    merging, tokens = settled(PatchMerging(CHANNELS)).eval(), torch.randn(2, 5, 8, CHANNELS)
    torch.nn.init.normal_(merging.norm.weight)
    torch.nn.init.normal_(merging.norm.bias)
    with torch.no_grad():
        expected = merging(tokens)
        merging.finalise()
        merging.finalise()  # once is enough
        torch.testing.assert_close(merging(tokens), expected, rtol=1e-5, atol=1e-5)
