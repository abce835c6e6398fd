"""The geometry stands on its own: a robot's calibration tool needs no deep-learning stack."""

import subprocess
import sys


def test_calibration_imports_neither_torch_nor_perception():
    modules = "calibration.rig, calibration.formats.kitti, calibration.formats.mmdet3d, calibration.formats.nuscenes"
    check = f"import sys, {modules}; print(sorted({{'torch', 'perception'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
