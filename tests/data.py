"""Where tests find real driving data and parity data; tests that need it skip cleanly where it is absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("BEVFUSE_DATA", Path(__file__).resolve().parents[2] / "shared"))
KEYFRAME = ROOT / "data" / "nuscenes_keyframe"
GOLDEN = ROOT / "golden"


def needs(*paths: Path) -> pytest.MarkDecorator:
    """A mark that skips a test (or, as `pytestmark`, a file) unless all of the paths exist."""
    missing = [str(path) for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}; set BEVFUSE_DATA")


def keyframe_info() -> Path:
    """The info file of the one real nuScenes keyframe."""
    return next(iter(sorted(KEYFRAME.glob("*.pkl"))))
