"""A detector that fuses boxes is made of two detectors' weights, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from calibration.errors import InputError
from perception.checkpoints.combined import main
from perception.checkpoints.native import save_weights
from perception.detector import load_detector
from perception.model.refiners.motion import Settings as Motion
from perception.nuscenes import CLASS_NAMES
from tests.tiny import tiny_config, tiny_frame, tiny_network, tiny_yaml

LATE = ["late={name: boxes}", "fuser=null", "view_transform.name=lss"]


@pytest.fixture
def weights(tmp_path):
    paths = []
    for seed, branches in enumerate([(True, False), (False, True)]):
        paths.append(tmp_path / f"{seed}.safetensors")
        save_weights(paths[-1], tiny_network(tiny_config(*branches, head="centerpoint"), seed).state_dict())
    return paths


def test_each_sensor_alone_finds_what_its_detector_finds(tmp_path, weights):
    config = tiny_yaml(tmp_path / "fusion.yaml", head="centerpoint")
    main(config, weights, tmp_path / "late", LATE)
    both = load_detector(tmp_path / "late" / "config.yaml", tmp_path / "late" / "weights.safetensors")
    states = (({"points": None}, (True, False)), ({"cameras": ()}, (False, True)))
    for (lacking, branches), path in zip(states, weights, strict=True):
        alone = load_detector(tiny_yaml(tmp_path / "alone.yaml", *branches, head="centerpoint"), path)
        frame = tiny_frame(0, **lacking)
        np.testing.assert_allclose(np.sort(both(frame).scores), np.sort(alone(frame).scores), atol=1e-4)


def test_refiners_that_have_no_weights_are_left_out(tmp_path, weights):
    refiners = [{"name": "placement", "channels": [8], "hidden": 8}, {"name": "motion", "hidden": 8}]
    motion = Motion(hidden=8).build(CLASS_NAMES).state_dict()
    save_weights(tmp_path / "motion.safetensors", {f"refiners.motion.{name}": motion[name] for name in motion})
    config = tiny_yaml(tmp_path / "fusion.yaml", head="centerpoint")
    data = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(data | {"refiners": refiners}))
    main(config, [*weights, tmp_path / "motion.safetensors"], tmp_path / "late", LATE)
    both = load_detector(tmp_path / "late" / "config.yaml", tmp_path / "late" / "weights.safetensors")
    assert list(both.network.refiners) == ["motion"]


def test_what_the_weights_do_not_fill_is_refused(tmp_path, weights):
    config = tiny_yaml(tmp_path / "fusion.yaml", head="centerpoint")
    with pytest.raises(InputError, match=r"expected all \d+ tensors of the detector, got \d+ of them"):
        main(config, weights[1:], tmp_path / "late", LATE)
    assert not (tmp_path / "late").exists()
