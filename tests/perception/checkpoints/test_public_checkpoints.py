"""Checkpoints in the exact layout of the published ones, with the weights that the reference detector was given."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from perception.checkpoints import mmdetection3d
from perception.checkpoints.importer import import_checkpoint
from perception.checkpoints.native import load_weights
from perception.config import load_config
from perception.model.network import Network
from tests.data import GOLDEN, needs
from tests.perception.checkpoints.public import as_mit_han_lab

pytestmark = needs(GOLDEN)

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
CONFIG_OF = {"lidar": CONFIGS / "bevfusion_lidar.yaml", "lidar-cam": CONFIGS / "bevfusion_lidar_camera.yaml"}


@cache
def lidar_weights() -> dict[str, Tensor]:
    """By the names of mmdetection3d."""
    specification = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    arrays = module.state_dict(GOLDEN / "lidar.state_dict.json", 0)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def hollow_weights(kind: str) -> dict[str, Tensor]:
    """Every name and shape of a published checkpoint, derived constants too, in a small file: one number each."""
    manifest = json.loads((GOLDEN / f"{kind}.state_dict.json").read_text(encoding="utf-8"))
    return {
        name: torch.full((1,), 0.5).to(getattr(torch, dtype)).expand(shape) if shape else torch.tensor(0)
        for name, (dtype, shape) in manifest.items()
    }


def imported_equals_the_lidar_weights(source: Path, out: Path) -> None:
    imported = import_checkpoint(source, CONFIG_OF.values())
    imported.save(out)
    network = Network(load_config(imported.config))
    load_weights(network, out)
    found = network.state_dict()
    expected = {mmdetection3d.native_name(name): tensor for name, tensor in lidar_weights().items()}
    assert imported.config == CONFIG_OF["lidar"]
    assert set(found) == set(expected)
    assert [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)] == []


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_checkpoint_of_mmdetection3d_is_loaded_tensor_by_tensor(tmp_path: Path, zipped: bool) -> None:
    content = {"meta": {}, "state_dict": lidar_weights()} if zipped else lidar_weights()
    torch.save(content, tmp_path / "public.pth", _use_new_zipfile_serialization=zipped)
    imported_equals_the_lidar_weights(tmp_path / "public.pth", tmp_path / "native.safetensors")


def test_a_checkpoint_of_mit_han_lab_is_loaded_tensor_by_tensor(tmp_path: Path) -> None:
    torch.save({"state_dict": as_mit_han_lab(lidar_weights())}, tmp_path / "public.pth")
    imported_equals_the_lidar_weights(tmp_path / "public.pth", tmp_path / "native.safetensors")


@pytest.mark.parametrize("kind", CONFIG_OF)
@pytest.mark.parametrize("layout", ["mmdetection3d", "mit-han-lab", "mmdetection3d, older view transform"])
def test_every_tensor_of_the_published_layouts_has_its_place(tmp_path: Path, kind: str, layout: str) -> None:
    weights = hollow_weights(kind)
    if layout == "mit-han-lab":
        weights = as_mit_han_lab(weights)
    elif layout != "mmdetection3d":
        weights = {name.replace("view_transform.", "vtransform."): tensor for name, tensor in weights.items()}
    torch.save({"state_dict": weights}, tmp_path / "public.pth")
    imported = import_checkpoint(tmp_path / "public.pth", CONFIG_OF.values())
    assert imported.layout.name == layout.split(",")[0]
    assert imported.config == CONFIG_OF[kind]
    assert imported.comparison.complete
    assert len(imported.converted) == (2 if layout == "mit-han-lab" else 0)
    derived = sum(mmdetection3d.native_name(name) is None for name in hollow_weights(kind))
    assert derived == (0 if kind == "lidar" else 16)
    assert len(imported.weights) == len(weights) - derived
