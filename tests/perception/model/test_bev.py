"""BEV maps: where cells are, and what the decoder keeps of a map's size."""

import pytest
import torch

from perception.config import BevDecoderSettings
from perception.model.bev_decoder import BevDecoder
from perception.model.grid import BevGrid
from tests.tiny import settled


def test_a_grid_covers_its_area():
    grid = BevGrid.covering((-54.0, -51.2, -5.0), (54.0, 51.2, 3.0), 0.075)
    assert (grid.size_x, grid.size_y) == (1440, 1365)  # 1365.33 cells: the last one is cut off
    assert (grid.lower_x, grid.lower_y, grid.cell) == (-54.0, -51.2, 0.075)


def test_rounding_in_the_extent_loses_no_cell():
    assert BevGrid.covering((-0.3, 0.0), (0.0, 0.7), 0.1) == BevGrid(-0.3, 0.0, 0.1, 3, 7)


def test_a_coarser_grid_covers_the_same_area():
    assert BevGrid(-54.0, -54.0, 0.075, 1440, 1440).coarser(8) == BevGrid(-54.0, -54.0, 0.6, 180, 180)


DECODERS = {
    "as published": ({}, 1),
    "one stage": ({"stage_channels": (8,), "stage_layers": (2,), "stage_strides": (1,), "out_channels": (6,)}, 1),
    "first stage strides": ({"stage_strides": (2, 2)}, 2),
    "no stage strides": ({"stage_strides": (1, 1)}, 1),
    "three stages": (
        {
            "stage_channels": (8, 12, 16),
            "stage_layers": (1, 0, 2),
            "stage_strides": (1, 2, 2),
            "out_channels": (4, 5, 6),
        },
        1,
    ),
}


@pytest.mark.parametrize(("changes", "stride"), DECODERS.values(), ids=DECODERS)
def test_all_stages_come_back_to_the_first_ones_scale(changes, stride):
    small = {"stage_channels": (8, 12), "stage_layers": (1, 1), "out_channels": (4, 6)}
    settings = BevDecoderSettings(**(small | changes))
    decoder = settled(BevDecoder(5, settings)).eval()
    assert decoder.stride == stride
    assert decoder.out_channels == sum(settings.out_channels)
    out = decoder(torch.randn(2, 5, 24, 16))
    assert out.shape == (2, decoder.out_channels, 24 // stride, 16 // stride)
    (out * torch.randn_like(out)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in decoder.parameters())
