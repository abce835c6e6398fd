"""Ray casting by Open3D (Embree): the first triangle that each ray meets, or whether it meets any."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import numpy as np

from calibration.errors import InputError

INSTALL = "pip install -c constraints.txt -e '.[sim]'"
SYSTEM_LIBRARIES = "libusb-1.0-0 libgl1 libgomp1 libegl1 libx11-6"


def open3d() -> ModuleType:
    """The open3d module; InputError that says what to install where it, or a system library of its, is missing."""
    try:
        import open3d
    except ModuleNotFoundError as error:
        raise InputError("open3d", "the ray caster", str(error), INSTALL) from None
    except (ImportError, OSError) as error:  # found, but the machine lacks a library that it links
        raise InputError("open3d", "its libraries", str(error), f"apt-get install {SYSTEM_LIBRARIES}") from None
    return open3d


def require() -> None:
    """Raise InputError unless what the simulator needs beyond the core is installed."""
    open3d()
    if find_spec("numba") is None:
        raise InputError("numba", "the compiler of the cameras' light", "not installed", INSTALL)


class Hits(NamedTuple):
    """What N rays meet."""

    distances: np.ndarray  # (N,) float32, in lengths of the ray's direction; inf where it meets nothing
    triangles: np.ndarray  # (N,) uint32, the mesh's rows
    barycentric: np.ndarray  # (N, 2) float32
    normals: np.ndarray  # (N, 3) float32, of the triangle, not unit length


class Caster:
    """Triangles (T, 3) between vertices (V, 3), ready to be asked. One thread: scenes are what runs side by side."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        self._empty = len(triangles) == 0
        if self._empty:
            return
        self._core = open3d().core
        self._scene = open3d().t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(
            self._core.Tensor.from_numpy(np.ascontiguousarray(vertices, np.float32)),
            self._core.Tensor.from_numpy(np.ascontiguousarray(triangles).astype(np.uint32)),
        )

    def first_hits(self, rays: np.ndarray) -> Hits:
        """What rays (N, 6) float32, origin and direction, meet first."""
        count = len(rays)
        if self._empty or not count:
            return Hits(
                np.full(count, np.inf, np.float32),
                np.zeros(count, np.uint32),
                np.zeros((count, 2), np.float32),
                np.zeros((count, 3), np.float32),
            )
        found = self._scene.cast_rays(self._core.Tensor.from_numpy(rays), nthreads=1)
        names = ("t_hit", "primitive_ids", "primitive_uvs", "primitive_normals")
        return Hits(*(found[name].numpy() for name in names))

    def blocked(self, rays: np.ndarray, farthest: float = np.inf) -> np.ndarray:
        """Which of the rays (N, 6) meet anything nearer than `farthest` -> (N,) bool."""
        if self._empty or not len(rays):
            return np.zeros(len(rays), bool)
        tensor = self._core.Tensor.from_numpy(rays)
        return self._scene.test_occlusions(tensor, tfar=float(farthest), nthreads=1).numpy()
