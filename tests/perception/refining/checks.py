"""What tests of refiners check alike."""

from __future__ import annotations

import numpy as np

from perception.types import Boxes3D


def same(one: Boxes3D, other: Boxes3D) -> None:
    for name in ("centers", "sizes", "yaws", "velocities", "scores", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
