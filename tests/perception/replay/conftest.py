"""A tiny drive."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nuscenes_fixture import write_nuscenes


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nuScenes root with two scenes."""
    return write_nuscenes(tmp_path_factory.mktemp("replay") / "root")
