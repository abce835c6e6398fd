"""Building blocks against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from perception.model.layers import highest_around


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_the_highest_around_is_max_pooling(kernel):
    maps = torch.randn(2, 3, 9, 12)
    assert torch.equal(highest_around(maps, kernel), F.max_pool2d(maps, kernel, stride=1))
