"""Weights that come with the package: found by a configuration's name, and put there in half precision."""

import json
from pathlib import Path

import pytest
import torch

from calibration.errors import InputError
from perception.checkpoints import shipped
from perception.checkpoints.native import read_weights, save_weights
from perception.checkpoints.shipped import about, checkpoint_of, halved, main, shipped_names
from perception.config import load_config
from perception.detector import load_detector
from tests.tiny import tiny_frame, tiny_network, tiny_yaml

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SHIPPED = ("sim_lidar", "sim_camera", "sim_fusion")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    return tmp_path


@pytest.fixture
def trained(folder):
    """A configuration, its weights and what they reached."""
    config = tiny_yaml(folder / "small.yaml", head="centerpoint")
    weights, metrics = folder / "weights.safetensors", folder / "metrics.json"
    save_weights(weights, tiny_network(load_config(config)).state_dict(), {"seed": "3"})
    metrics.write_text(json.dumps({"mean_ap": 0.5, "nd_score": 0.625}), encoding="utf-8")
    return config, weights, metrics


def test_weights_are_put_into_the_package_with_what_is_known_of_them(folder, trained, capsys):
    config, weights, metrics = trained
    main(config, weights, metrics, "python tools/train.py small.yaml")
    path = folder / "weights" / "small.safetensors"
    assert shipped_names() == ["small"]
    facts = {"seed": "3", "made_by": "python tools/train.py small.yaml", "mAP": "0.5000", "NDS": "0.6250"}
    assert facts.items() <= about(path).items()
    assert path.stat().st_size < 0.75 * weights.stat().st_size
    assert str(path) in capsys.readouterr().out


def test_a_detector_takes_them_unless_others_are_given(folder, trained):
    config, weights, metrics = trained
    main(config, weights, metrics, "")
    assert checkpoint_of(config) == folder / "weights" / "small.safetensors"
    assert checkpoint_of(config, weights) == weights
    exact, half = load_detector(config, weights), load_detector(config)
    ours, theirs = half.network.state_dict(), exact.network.state_dict()
    assert all(tensor.dtype == theirs[name].dtype for name, tensor in ours.items())
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert len(half(tiny_frame())) > 0


def test_a_configuration_without_any_is_told_so(folder, trained):
    with pytest.raises(InputError, match=r"small\.yaml: expected weights: --checkpoint, .*none has.*give --checkpoint"):
        load_detector(trained[0])


def test_vectors_keep_their_precision_and_numbers_beyond_half_precision_are_refused():
    weights = {"kernel": torch.full((2, 2), 0.1), "variance": torch.tensor([1e-9]), "steps": torch.tensor(7)}
    assert {name: tensor.dtype for name, tensor in halved(weights).items()} == {
        "kernel": torch.float16,
        "variance": torch.float32,
        "steps": torch.int64,
    }
    with pytest.raises(InputError, match="kernel: expected finite numbers below 65504"):
        halved({"kernel": torch.full((2, 2), 1e5)})


def test_weights_of_another_configuration_are_not_put_there(folder, trained):
    _, weights, metrics = trained
    other = tiny_yaml(folder / "other.yaml", cameras=False)
    with pytest.raises(InputError, match="use the configuration that this checkpoint was made for"):
        main(other, weights, metrics, "")
    assert shipped_names() == []


@pytest.mark.parametrize("name", SHIPPED)
def test_the_detectors_that_come_with_the_project_load_and_say_how_they_were_made(name):
    config = CONFIGS / f"{name}.yaml"
    detector = load_detector(config)
    assert detector.config == load_config(config)
    facts = about(checkpoint_of(config))
    made_by = facts["made_by"]
    assert any(f"tools/{command}.py configs/{name}.yaml" in made_by for command in ("train", "train_refiner"))
    assert all(f"--refiner {refiner}" in made_by for refiner in list(detector.network.refiners)[-1:])
    assert 0 < float(facts["mAP"]) < 1
    assert 0 < float(facts["NDS"]) < 1
    assert facts["seed"].isdecimal()


def test_their_weights_are_small():
    sizes = [path.stat().st_size for path in shipped.FOLDER.glob("*.safetensors")]
    assert len(sizes) == len(SHIPPED)
    assert sum(sizes) <= 25e6


def test_the_same_weights_are_the_same_bytes(tmp_path: Path):
    weights = {"b": torch.ones(3), "a": torch.zeros(2, 2)}
    facts = {"seed": "0", "made_by": "tools/train.py Zürich", "mAP": "0.5", "NDS": "0.4"}
    for number in range(6):
        save_weights(tmp_path / f"{number}.safetensors", weights, facts)
    assert len({path.read_bytes() for path in tmp_path.glob("*.safetensors")}) == 1
    assert about(tmp_path / "0.safetensors").items() >= facts.items()
    assert torch.equal(read_weights(tmp_path / "0.safetensors")["b"], weights["b"])
