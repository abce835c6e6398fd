"""Configurations: complete and typed, and every mistake is told by its place, with the nearest right name."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from calibration.errors import InputError
from perception.config import DetectorConfig, load_config, parse_config, plugin_names
from perception.nuscenes import CLASS_NAMES
from tests.tiny import HEADS, tiny_config, tiny_data, tiny_yaml

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


def changed(section: str, **changes: object) -> dict:
    """The small configuration with other values in one section."""
    data = tiny_data()
    return data | {section: data[section] | changes}


def error_of(data: dict) -> str:
    with pytest.raises(InputError) as error:
        parse_config(data, "my.yaml")
    return str(error.value)


# Files


def test_there_are_public_configurations():
    assert {"bevfusion_lidar", "bevfusion_lidar_camera"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_of_the_repository_loads(path):
    config = load_config(path)
    assert config.uses_cameras or config.uses_lidar
    assert load_config(str(path)) == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_of_the_repository_says_all_of_its_numbers(path):
    """A default that changes in the code must not change a published experiment."""

    def unsaid(said: dict, whole: dict, place: str) -> list[str]:
        missing = []
        for key, value in whole.items():
            if key not in said:
                missing += [f"{place}{key}"] if value != () else []  # an empty section may be left out
            elif isinstance(value, dict):
                missing += unsaid(said[key], value, f"{place}{key}.")
            elif value and isinstance(value, tuple) and isinstance(value[0], dict):
                for number, (mine, theirs) in enumerate(zip(said[key], value, strict=True)):
                    missing += unsaid(mine, theirs, f"{place}{key}.{number}.")
        return missing

    whole = load_config(path).model_dump(exclude_none=True, serialize_as_any=True)
    assert unsaid(yaml.safe_load(path.read_text()), whole, "") in ([], ["format"])


def test_a_file_says_what_the_same_data_say(tmp_path):
    assert load_config(tiny_yaml(tmp_path / "tiny.yaml")) == tiny_config()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: expected a configuration file.* got no such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"head: [transfusion", "expected valid YAML"),
        (b"\tclasses: [car]", "expected valid YAML"),
        (b"\xff\xfe\x00binary", "expected UTF-8 text"),
        (b"- car\n- bus\n", "expected a mapping of sections, got list"),
        (b"", "expected a mapping of sections, got NoneType"),
        (b"classes: !!python/object:os.system {}", "expected valid YAML"),
    ],
)
def test_what_is_no_mapping_in_yaml_is_refused_in_one_line(tmp_path, content, got):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: {got}")
    assert "\n" not in str(error.value)


# Keys and names


@pytest.mark.parametrize(
    ("data", "place", "hint"),
    [
        (tiny_data() | {"hed": {}}, "my.yaml", "got 'hed'; did you mean head?"),
        (tiny_data() | {"zebra": 1}, "my.yaml", "got 'zebra'; known: format, classes, grid"),
        (changed("head", hiden=3), "my.yaml: head", "got 'hiden'; did you mean hidden?"),
        (changed("grid", uper=[0, 0, 0]), "my.yaml: grid", "got 'uper'; did you mean upper?"),
        (changed("points", sweps=3), "my.yaml: points", "got 'sweps'; did you mean sweeps?"),
        (changed("view_transform", cel=1.0), "my.yaml: view_transform", "got 'cel'; did you mean cell?"),
        (changed("head", **{"3": 1}), "my.yaml: head", "got '3'; known: name, hidden"),
        (tiny_data() | {3: 1}, "my.yaml", "got 3; known: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unknown_key_is_answered_with_the_nearest(data, place, hint):
    assert error_of(data).startswith(f"{place}: ")
    assert hint in error_of(data)


@pytest.mark.parametrize(
    ("section", "name", "hint"),
    [
        ("head", "transfuson", "got 'transfuson'; did you mean transfusion?"),
        ("head", "Centerpoint", "got 'Centerpoint'; did you mean centerpoint?"),
        ("fuser", "zebra", "got 'zebra'; known: "),
        ("image_backbone", "../network", "got '../network'; known: "),
        ("image_neck", "__init__", "got '__init__'; known: "),
        ("view_transform", ["lss"], "got ['lss']"),
        ("view_transform", 3, "got 3; known: "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(section, name, hint):
    message = error_of(changed(section, name=name))
    assert message.startswith(f"my.yaml: {section}: ")
    assert hint in message


def test_a_plug_in_that_does_not_exist_is_told_in_one_sentence():
    with pytest.raises(InputError) as told:
        parse_config(tiny_data() | {"head": {"name": "transfusio"}})
    text = "configuration: head: name: expected a known name, got 'transfusio'; did you mean transfusion?"
    assert str(told.value) == text


@pytest.mark.parametrize("section", ["transfusion", None, {"hidden": 16}, ["transfusion"]], ids=str)
def test_a_plug_in_section_needs_a_name(section):
    assert error_of(tiny_data() | {"head": section}).startswith("my.yaml: head: expected a section with a `name`, got ")


def test_plug_in_names_are_the_files_of_the_folder():
    assert plugin_names("perception.model.heads") == ["centerpoint", "query", "transfusion"]
    assert set(plugin_names("perception.model.view_transforms")) >= {"depth_lss", "lss"}


@pytest.mark.parametrize("head", HEADS)
def test_a_plug_in_has_its_own_settings(head):
    settings = tiny_config(head=head).head
    assert settings.name == head
    assert type(settings).__module__ == f"perception.model.heads.{head}"


# Values


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (changed("points", sweeps=-1), "points.sweeps"),
        (changed("points", max_voxels=0), "points.max_voxels"),
        (changed("images", resized_width="wide"), "images.resized_width"),
        (changed("images", size=[88]), "images.size"),
        (changed("grid", upper=[-50.0, 40.0, 3.0]), "grid"),
        (changed("grid", voxel=[0.0, 1.0, 1.0]), "grid"),
        (changed("grid", voxel=[100.0, 1.0, 1.0]), "grid"),
        (changed("head", hidden="many"), "head.hidden"),
        (tiny_data() | {"classes": "car"}, "classes"),
        (tiny_data() | {"format": "bevfuse-config-2"}, "format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_impossible_value_is_told_by_its_place(data, place):
    assert error_of(data).startswith(f"my.yaml: {place}")


@pytest.mark.parametrize("section", ["classes", "grid", "bev_decoder", "head"])
def test_no_section_that_every_detector_has_may_be_missing(section):
    data = tiny_data()
    del data[section]
    assert error_of(data).startswith(f"my.yaml: {section}: ")


@pytest.mark.parametrize(
    "section", ["points", "lidar_encoder", "images", "image_backbone", "image_neck", "view_transform"]
)
def test_a_branch_is_whole_or_absent(section):
    data = tiny_data()
    del data[section]
    message = error_of(data)
    assert f"got no {section}" in message
    assert ("LiDAR branch" in message) == (section in ("points", "lidar_encoder"))


def test_there_is_a_fuser_exactly_if_there_are_two_branches():
    fuser = tiny_data()["fuser"]
    without = {key: value for key, value in tiny_data().items() if key != "fuser"}
    for data in (without, tiny_data(cameras=False) | {"fuser": fuser}, tiny_data(lidar=False) | {"fuser": fuser}):
        assert "expected a fuser where there are two branches and none where there is one" in error_of(data)


def test_there_is_at_least_one_branch():
    with pytest.raises(InputError, match="expected a LiDAR branch, a camera branch or both, got neither"):
        parse_config(tiny_data(cameras=False, lidar=False))


@pytest.mark.parametrize(("cameras", "lidar"), [(True, True), (True, False), (False, True)])
def test_a_configuration_knows_its_branches(cameras, lidar):
    config = tiny_config(cameras, lidar)
    assert (config.uses_cameras, config.uses_lidar) == (cameras, lidar)
    assert config.classes == CLASS_NAMES


def test_a_configuration_can_not_be_changed():
    config = tiny_config()
    for section, field in ((config, "classes"), (config.points, "sweeps"), (config.head, "hidden")):
        with pytest.raises(ValidationError):
            setattr(section, field, None)
    assert config == DetectorConfig.model_validate(tiny_data())


def test_settings_made_in_code_are_taken_as_they_are():
    head = tiny_config(head="centerpoint").head
    assert parse_config(tiny_data() | {"head": head}).head is head


# Sections whose numbers must fit each other


@pytest.mark.parametrize(
    ("section", "changes", "expected"),
    [
        ("lidar_encoder", {"down_padding_z": [1, 1]}, "one down_padding_z for every stage but the last"),
        ("bev_decoder", {"stage_layers": [1]}, "as many channels, layers, strides and out_channels as stages"),
        ("image_backbone", {"heads": [3, 2, 2]}, "for each stage a number of heads"),
        ("image_backbone", {"heads": [1, 2]}, "for each stage a number of heads"),
        ("head", {"hidden": 17}, "hidden to be a multiple of attention_heads"),
    ],
)
def test_numbers_that_do_not_fit_each_other_are_refused(section, changes, expected):
    assert f"my.yaml: {section}: expected {expected}" in error_of(changed(section, **changes))


def test_a_fuser_needs_two_branches():
    alone = tiny_data(cameras=False) | {"fuser": {"name": "conv"}}
    assert error_of(alone).endswith("got 1 branches and a fuser")
    assert error_of(tiny_data() | {"fuser": None}).endswith("got 2 branches and no fuser")
