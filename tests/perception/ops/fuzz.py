"""What nobody should give the kernels: `python -m tests.perception.ops.fuzz ROUNDS`, with kernels built to find faults.

Every call must compute or refuse, with an InputError. Whether it reads or writes beyond its arrays is for
AddressSanitizer to say (`make sanitize`).
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch

from calibration.errors import InputError
from perception.ops import native
from perception.ops.bev_pool import PoolingPlan, bev_pool
from perception.ops.frustum import Frustums, Map, frustum_cells
from perception.ops.nms import circle_nms, rotated_nms
from perception.ops.rows import multiplies_rows
from perception.ops.sparse import Kernel, SparseTensor, convolve, convolve_inverse
from perception.ops.surroundings import gather_surroundings
from perception.ops.trails import Layout, count_trails
from perception.ops.voxelize import voxelize
from perception.ops.window_attention import window_attention, window_order
from perception.ops.winograd import TILES, WinogradConvolution

WILD = (-(2**63), -(2**31) - 1, -(2**31), -2, -1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1)
WILD_FLOATS = (float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 1e19, 9.3e18, 0.0, -0.0, 1e-45)


def places(rng: np.random.Generator, shape: tuple[int, ...], size: int, wild: bool) -> torch.Tensor:
    """int64 in 0..size - 1, many of them twice; where wild, a few are anywhere."""
    values = rng.integers(0, max(size, 1), shape)
    if wild:
        values = np.where(rng.random(shape) < 0.02, rng.choice((*WILD, size), shape), values)
    return torch.from_numpy(values.astype(np.int64))


def numbers(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """float32; in one of two draws with some that are none, or huge."""
    values = rng.normal(size=shape)
    if rng.random() < 0.5:
        values = np.where(rng.random(shape) < 0.05, rng.choice(WILD_FLOATS, shape), values)
    return torch.from_numpy(values.astype(np.float32))


def pool(rng: np.random.Generator) -> None:
    pixels, depths, channels, cells = (int(rng.integers(0, most)) for most in (40, 9, 100, 60))
    flat = places(rng, (pixels, depths), cells, wild=rng.random() < 0.3)
    plan = PoolingPlan.of(flat.where(torch.from_numpy(rng.random(flat.shape) > 0.2), -1), cells)
    inputs = [numbers(rng, pixels, n).requires_grad_() for n in (channels, depths)]
    out = bev_pool(*inputs, plan)
    out.backward(numbers(rng, *out.shape))


def make_voxels(rng: np.random.Generator) -> None:
    points = numbers(rng, int(rng.integers(0, 300)), int(rng.integers(3, 7)))
    size = tuple(int(n) for n in (rng.choice([0, 1, 2**21, 2**31, 2**62], 3) if rng.random() < 0.3 else [9, 7, 5]))
    limits = (None if rng.random() < 0.5 else int(rng.integers(0, 20)) for _ in range(2))
    voxelize(points, (-1.0, -1.0, -1.0), (0.2, 0.3, 0.4), size, *limits)


def follow_trails(rng: np.random.Generator) -> None:
    points = numbers(rng, int(rng.integers(0, 300)), 5)
    ways = numbers(rng, int(rng.integers(0, 12)), 8).double()
    spans, layers, cells = (int(n) for n in rng.integers(0, 6, 3))
    layout = Layout(
        spans, 0.5, layers, cells, float(rng.choice([0.0, 1e-30, 0.3])), *(float(n) for n in rng.normal(size=2))
    )
    count_trails(points, ways, layout)


def gather_around(rng: np.random.Generator) -> None:
    points = numbers(rng, int(rng.integers(0, 300)), 5)
    boxes = numbers(rng, int(rng.integers(0, 12)), 11).double()
    gather_surroundings(points, boxes, int(rng.integers(0, 9)))


def suppress_boxes(rng: np.random.Generator) -> None:
    boxes = numbers(rng, int(rng.integers(0, 150)), 5) * float(rng.choice([0.0, 1.0, 5.0, 1e30]))
    scores = numbers(rng, len(boxes))
    limit = None if rng.random() < 0.5 else int(rng.integers(0, 20))
    circle_nms(boxes[:, :2], scores, float(rng.choice(WILD_FLOATS)), limit)
    rotated_nms(boxes, scores, float(rng.random()), limit)


def find_cells(rng: np.random.Generator) -> None:
    count, pixels, depths = (int(n) for n in rng.integers(0, 5, 3))
    frame = places(rng, (count,), 2, wild=False)
    shapes = ((count, pixels, 2), (depths * 30,), (count, 3, 3), (count, 3))
    size = tuple(int(n) for n in rng.integers(1, 30, 2))
    frustum_cells(Frustums(*(numbers(rng, *shape) for shape in shapes), frame), Map((-1.0,) * 3, (0.2, 0.3, 2.0), size))


@torch.no_grad()
def convolve_by_tiles(rng: np.random.Generator) -> None:
    cin, cout, height, width = (int(n) for n in rng.integers(1, 60, 4))
    dtype = list(TILES)[int(rng.integers(0, 2))]
    padding = tuple(int(n) for n in rng.integers(0, 3, 2))
    if dtype == torch.bfloat16 and (cin % 2 or not multiplies_rows(dtype)):
        dtype = torch.float32
    convolution = WinogradConvolution(numbers(rng, cout, cin, 3, 3), numbers(rng, cout), padding, "relu6", dtype)
    convolution(numbers(rng, int(rng.integers(0, 3)), cin, height, width).to(dtype))


@torch.no_grad()
def attend(rng: np.random.Generator) -> None:
    count, height, width, heads, side = (int(n) for n in rng.integers(1, 8, 5))
    channels = 3 * heads * 16 * int(rng.integers(1, 4))
    order = window_order(height, width, side + 1, int(rng.integers(0, 2)), torch.device("cpu"))
    dtype = torch.float32 if rng.random() < 0.5 else torch.bfloat16
    bias = numbers(rng, heads, (side + 1) ** 2, (side + 1) ** 2)
    window_attention(numbers(rng, count, height, width, channels).to(dtype), numbers(rng, channels), bias, order)


def convolve_back_and_forth(rng: np.random.Generator) -> None:
    size, batch = tuple(int(n) for n in rng.integers(1, 9, 3)), int(rng.integers(1, 3))
    kernel = Kernel(*(tuple(int(n) for n in rng.integers(low, 4, 3)) for low in (1, 1, 0)))
    if rng.random() < 0.5:
        kernel = Kernel(kernel.size, submanifold=True)
    wild = rng.random() < 0.3
    coordinates = torch.cat([places(rng, (60, 1), n, wild) for n in (batch, *size)], dim=1)
    if rng.random() < 0.8:
        coordinates = torch.unique(coordinates, dim=0)
        coordinates = coordinates[torch.from_numpy(rng.permutation(len(coordinates)))]
    cin, cout = (int(n) for n in rng.integers(1, 70, 2))
    fine = SparseTensor(numbers(rng, len(coordinates), cin).requires_grad_(), coordinates, size, batch)
    weight = numbers(rng, cout, *kernel.size, cin).requires_grad_()
    coarse = convolve(fine, weight, kernel)
    back = convolve_inverse(coarse, numbers(rng, cin, *kernel.size, cout), kernel, fine)
    back.features.sum().backward()
    with torch.no_grad():
        convolve(replace(fine, features=fine.features.bfloat16()), weight, kernel)


def read_beyond() -> None:
    """What AddressSanitizer must report: else it would report nothing of the kernels at all."""
    plan = PoolingPlan.of(torch.zeros(4, 3, dtype=torch.int64), 1)
    bev_pool(torch.ones(4, 80), torch.ones(4, 3), replace(plan, rows=plan.rows + 4))


def run(call: Callable[[np.random.Generator], None], rounds: int) -> int:
    """How many rounds computed."""
    computed = 0
    for seed in range(rounds):
        with suppress(InputError):
            call(np.random.default_rng(seed))
            computed += 1
    return computed


if __name__ == "__main__":
    if native.library() is None:
        sys.exit("kernels: expected a library, got none")
    if sys.argv[1] == "beyond":
        read_beyond()
        sys.exit()
    torch.set_num_threads(2)
    for call in (
        *(pool, make_voxels, follow_trails, gather_around, suppress_boxes, convolve_back_and_forth),
        *(find_cells, convolve_by_tiles, attend),
    ):
        print(f"{call.__name__}: {run(call, int(sys.argv[1]))} of {sys.argv[1]} computed, the others refused")
