"""Whatever the kernels are given, they neither read nor write beyond their arrays: AddressSanitizer watches them."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perception.ops import native

CHECKOUT = Path(__file__).resolve().parents[3]
KERNELS = CHECKOUT / "build" / "sanitized" / "kernels.so"


def preloaded() -> str:
    """What must be in a process before Python: AddressSanitizer, and what it wants to see exceptions of."""
    found = []
    for library in ("libasan.so", "libstdc++.so"):
        said = subprocess.run(["g++", f"-print-file-name={library}"], capture_output=True, text=True, check=True)
        found.append(said.stdout.strip())
    return " ".join(found)


@pytest.fixture(scope="module")
def watched() -> dict[str, str]:
    """An environment in which the kernels are watched."""
    missing = [tool for tool in ("g++", "make") if not shutil.which(tool)]
    if missing or not (CHECKOUT / "Makefile").is_file():
        pytest.skip(f"needs g++, make and the checkout's Makefile; missing: {', '.join(missing) or 'Makefile'}")
    libraries = preloaded()
    if not Path(libraries.split()[0]).is_absolute():
        pytest.skip("needs GCC's libasan")
    relative = KERNELS.relative_to(CHECKOUT)
    subprocess.run(["make", "--silent", "CXX=g++", str(relative)], cwd=CHECKOUT, check=True)
    return os.environ | {
        "LD_PRELOAD": libraries,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own are many
        "BEVFUSE_KERNELS": str(KERNELS),
        "PYTHONPATH": str(CHECKOUT),
    }


def best_isa() -> str:
    ask = native.library().bevfuse_isa
    ask.restype = ctypes.c_char_p
    return ask().decode()


def fuzz(argument: str, environment: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.perception.ops.fuzz", argument]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=CHECKOUT, timeout=300)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512_bf16", "amx"])
def test_whatever_the_kernels_are_given_they_stay_within_their_arrays(watched, isa):
    if isa == "amx" and best_isa() != isa:
        pytest.skip("needs a processor with AMX")
    done = fuzz("300", watched | {"BEVFUSE_ISA": isa})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" of 300 computed, the others refused") == 9


def test_a_row_beyond_its_array_would_be_seen(watched):
    done = fuzz("beyond", watched)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
