"""The rules of the house: who may import what, and what every command owes its user."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("calibration", "perception")
MODULES = sorted(path for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py"))
NEED_AN_EXTRA = {"perception.ops.bev_pool_triton"}  # to be imported at all; others need theirs to be called
COMMANDS = sorted((CHECKOUT / "tools").glob("*.py"))

GEOMETRY_NEEDS = {"calibration", "numpy", "scipy", "cv2", "yaml"}
EXTRAS = {"nuscenes", "pyquaternion", "matplotlib", "spconv", "cumm", "mmdet3d", "mmdet", "mmengine", "mmcv"}
EXTRAS |= {"open3d", "rerun", "rclpy", "rosbags", "mcap", "lightning_fabric", "tensorboard", "triton", "onnx"}
EXTRAS |= {"onnxruntime"}
HEAVY = {"torch", "cv2", "scipy", "matplotlib", "numba", "pandas"}


def run(*arguments: str, **settings) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        **settings,
    )


def imported_names(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, inside functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_module_lies_in_packages_that_an_installation_includes(path):
    folders = [folder for folder in path.parents if folder != CHECKOUT and CHECKOUT in folder.parents]
    missing = [str(folder.relative_to(CHECKOUT)) for folder in folders if not (folder / "__init__.py").is_file()]
    assert not missing, f"no __init__.py in {', '.join(missing)}"


@pytest.mark.parametrize("path", sorted((CHECKOUT / "calibration").rglob("*.py")), ids=dotted)
def test_geometry_needs_numpy_scipy_opencv_and_yaml_only(path):
    assert imported_names(path) <= GEOMETRY_NEEDS | sys.stdlib_module_names


def test_importing_everything_loads_no_extra():
    modules = ", ".join(sorted(set(map(dotted, MODULES)) - NEED_AN_EXTRA))
    result = run("-c", f"import sys, {modules}; print(*sorted({EXTRAS!r} & set(sys.modules)))")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_sources_timing_and_outputs_work_without_the_models():
    modules = [path for path in MODULES if path.parent.name in ("sources", "timing", "outputs", "drawing", "formats")]
    assert modules
    result = run("-c", f"import sys, {', '.join(map(dotted, modules))}; print('torch' in sys.modules)")
    assert (result.returncode, result.stdout.strip()) == (0, "False"), result.stderr


def test_there_are_commands():
    assert COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.name)
def test_help_comes_quickly_and_with_an_example(command):
    result = run("-X", "importtime", str(command), "--help")
    assert result.returncode == 0, result.stderr
    assert f"python tools/{command.name} " in result.stdout
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in result.stderr.splitlines() if "|" in line}
    assert not loaded & HEAVY, "import heavy packages inside the functions that use them"


@pytest.mark.parametrize("path", [path for path in MODULES if path.stem == "measure"], ids=dotted)
def test_asking_a_measurement_for_help_measures_nothing(path):
    result = run("-m", dotted(path), "--help", cwd=CHECKOUT)
    assert (result.returncode, "--help" in result.stdout) == (0, True), result.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.name)
def test_a_wrong_option_ends_with_code_2_and_no_traceback(command):
    result = run(str(command), "--no-such-option")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
