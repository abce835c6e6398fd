"""Triton's BEV pooling against its torch twin: interpreted on a CPU, compiled for GPUs, and run where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from perception.ops.bev_pool import bev_pool, bev_pool_torch
from tests.perception.ops.pooling import results

triton = pytest.importorskip("triton")
CHECKOUT = Path(__file__).resolve().parents[3]

# In a process of its own: how Triton works is settled when it is imported.
INTERPRETED = """
import sys
import torch
from perception.ops.bev_pool_triton import Pooled
from tests.perception.ops.pooling import results
torch.save(results(Pooled.apply), sys.argv[1])
"""


def assert_the_twins(found: list[torch.Tensor]) -> None:
    for one, two in zip(found, results(bev_pool_torch), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_interpreted_it_gives_the_twins_maps_and_gradients(tmp_path):
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-c", INTERPRETED, tmp_path / "results.pt"], env=environment, check=True)
    assert_the_twins(torch.load(tmp_path / "results.pt"))


@pytest.mark.parametrize("capability", [70, 80, 90])
def test_it_compiles_for_nvidia_gpus(tmp_path, monkeypatch, capability):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from perception.ops.bev_pool_triton import gather_pixels, sum_cells

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    float32, int32, int64 = "*fp32", "*i32", "*i64"
    signatures = {
        sum_cells: (float32, float32, int32, int32, int32, int64, float32, "i32", "constexpr", "constexpr"),
        gather_pixels: (*[float32] * 3, int32, *[float32] * 2, "i32", "i32", "constexpr", "constexpr"),
    }
    for kernel, types in signatures.items():
        signature = dict(zip(kernel.arg_names, types, strict=True))
        tile = dict(zip([(len(types) - 2,), (len(types) - 1,)], (16, 128), strict=True))
        compiled = triton.compile(ASTSource(kernel, signature, tile), target=GPUTarget("cuda", capability, 32))
        assert f"sm_{capability}" in compiled.asm["ptx"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_is_what_pools():
    assert_the_twins(results(bev_pool, "cuda"))
    assert "perception.ops.bev_pool_triton" in sys.modules
