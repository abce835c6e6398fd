"""Typed configuration: one YAML file describes one experiment, completely.

A section with a `name` picks a file: `head: {name: transfusion}` is perception/model/heads/transfusion.py, which holds
its own `Settings` beside the code they set. There is no registry; a new file is a new choice. Unknown or misspelt keys
and names raise InputError with the nearest valid one.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from calibration.errors import InputError
from calibration.files import is_file, read_yaml
from calibration.spelling import did_you_mean
from perception.overrides import overridden

Pair = tuple[int, int]
Triple = tuple[int, int, int]
Vector3 = tuple[float, float, float]


class Settings(BaseModel):
    """A section of a configuration: frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"expected a known key, got {key!r}; {did_you_mean(key, cls.model_fields)}")
        return data


def plugin_names(package: str) -> list[str]:
    """The files of a plug-in folder like "perception.model.heads", by name, without importing any of them."""
    folder = Path(__file__).resolve().parent.joinpath(*package.split(".")[1:])
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def _settings_of_plugin(package: str, required: bool, data: Any) -> Settings | None:
    if isinstance(data, Settings) or (data is None and not required):
        return data
    if not isinstance(data, dict) or "name" not in data:
        raise ValueError(f"expected a section with a `name`, got {data!r}; choose from {plugin_names(package)}")
    name = data["name"]
    names = plugin_names(package)
    if name not in names:
        raise ValueError(f"name: expected a known name, got {name!r}; {did_you_mean(name, names)}")
    return importlib.import_module(f"{package}.{name}").Settings.model_validate(data)


def plugin(package: str, required: bool = False) -> Any:
    """The type of a section whose `name` picks one of the files of `package`."""
    return Annotated[Any, BeforeValidator(partial(_settings_of_plugin, package, required))]


def _training_settings(data: Any) -> Any:
    if data is None or isinstance(data, Settings):
        return data
    return importlib.import_module("perception.training.settings").TrainingSettings.model_validate(data)


class GridSettings(Settings):
    """What is detected in, in the lidar frame, and how finely it is cut into voxels."""

    lower: Vector3  # m; a point counts if it is strictly inside
    upper: Vector3  # m
    voxel: Vector3  # m

    @model_validator(mode="after")
    def _not_empty(self) -> GridSettings:
        for low, high, size in zip(self.lower, self.upper, self.voxel, strict=True):
            if not (size > 0 and high - low >= size):
                raise ValueError(f"expected lower < upper and voxel > 0, got {self.lower}, {self.upper}, {self.voxel}")
        return self

    @property
    def size(self) -> Triple:
        """Voxels along x, y and z."""
        axes = zip(self.lower, self.upper, self.voxel, strict=True)
        x, y, z = (round((high - low) / step) for low, high, step in axes)
        return x, y, z


class PointSettings(Settings):
    """The LiDAR input."""

    sweeps: int = Field(9, ge=0)  # clouds before the keyframe that are added to it
    remove_radius_m: float = Field(1.0, ge=0)  # returns from the own car, dropped from the sweeps
    # Ages between which points are counted apart: a voxel's features then end with its points' shares of each span. A
    # mean age tells little where a voxel holds a few points; which spans are empty tells which way something went.
    age_edges_s: tuple[float, ...] = ()
    max_points_per_voxel: int | None = Field(10, ge=1)  # first come; null averages all of them
    max_voxels: int | None = Field(160_000, ge=1)  # first come; null keeps all


class ImageSettings(Settings):
    """The camera input: each image is scaled to a width, then a window is cut out of it."""

    cameras: tuple[str, ...]  # in the order in which the network sees them
    resized_width: int = Field(gt=0)  # px; the height keeps the aspect ratio
    size: Pair  # px, width and height of the window: centred, at the bottom of the scaled image
    mean: Vector3 = (123.675, 116.28, 103.53)  # ImageNet, RGB, 0-255
    std: Vector3 = (58.395, 57.12, 57.375)


class BevDecoderSettings(Settings):
    """SECOND and its FPN: residual-free stages over the BEV map, then all brought to the first one's scale."""

    stage_channels: tuple[int, ...] = (128, 256)
    stage_layers: tuple[int, ...] = (5, 5)  # 3x3 convolutions after each stage's first
    stage_strides: tuple[int, ...] = (1, 2)
    out_channels: tuple[int, ...] = (256, 256)  # of each stage, concatenated

    @model_validator(mode="after")
    def _every_stage_is_whole(self) -> BevDecoderSettings:
        counts = [
            len(value) for value in (self.stage_channels, self.stage_layers, self.stage_strides, self.out_channels)
        ]
        if len(set(counts)) > 1:
            raise ValueError(f"expected as many channels, layers, strides and out_channels as stages, got {counts}")
        return self


class DetectorConfig(Settings):
    """One detector. Sections left out are branches left out: no `images`, no cameras."""

    format: Literal["bevfuse-config-1"] = "bevfuse-config-1"
    classes: tuple[str, ...]
    grid: GridSettings
    points: PointSettings | None = None
    lidar_encoder: plugin("perception.model.lidar_encoders") = None
    images: ImageSettings | None = None
    image_backbone: plugin("perception.model.image_backbones") = None
    image_neck: plugin("perception.model.image_necks") = None
    view_transform: plugin("perception.model.view_transforms") = None
    decoration: plugin("perception.model.decorations") = None  # early fusion; the camera branch may then end there
    fuser: plugin("perception.model.fusers") = None
    late: plugin("perception.model.late") = None  # the cameras get a decoder and head of their own, and boxes are fused
    bev_decoder: BevDecoderSettings
    head: plugin("perception.model.heads", required=True)
    # They look at found boxes once more, one after the other, in the data as it was measured.
    refiners: tuple[plugin("perception.model.refiners", required=True), ...] = ()
    training: Annotated[Any, BeforeValidator(_training_settings)] = None  # perception/training/settings.py

    @model_validator(mode="after")
    def _branches_are_whole(self) -> DetectorConfig:
        camera = ("images", "image_backbone", "image_neck")
        # Image features may be of use without a map of them.
        unlifted = self.decoration is not None or self.head_sees_images
        lifted = not unlifted or any(getattr(self, name) is not None for name in ("view_transform", "late"))
        branches = {
            "LiDAR": ("points", "lidar_encoder"),
            "camera": (*camera, "view_transform") if lifted else camera,
        }
        whole = []
        for branch, sections in branches.items():
            absent = [section for section in sections if getattr(self, section) is None]
            if absent and len(absent) < len(sections):
                raise ValueError(f"expected all of {', '.join(sections)} for the {branch} branch, got no {absent[0]}")
            whole.append(not absent)
        if not any(whole):
            raise ValueError("expected a LiDAR branch, a camera branch or both, got neither")
        for section in ("decoration", "late"):
            if getattr(self, section) is not None and not all(whole):
                raise ValueError(f"expected {section} where there are two branches only, got {sum(whole)} of them")
        if self.head_sees_images and not whole[1]:
            raise ValueError(f"expected a camera branch where head is {self.head.name}, got none")
        free = all(whole) and self.late is not None  # boxes may be all that is fused
        if not free and (all(whole) and lifted) != (self.fuser is not None):
            got = f"{sum(whole)} branches and {'no' if self.fuser is None else 'a'} fuser"
            raise ValueError(f"expected a fuser where there are two branches and none where there is one, got {got}")
        return self

    @model_validator(mode="after")
    def _refiners_once(self) -> DetectorConfig:
        names = [refiner.name for refiner in self.refiners]
        if len(set(names)) < len(names):
            raise ValueError(f"expected each refiner once, got {', '.join(names)}")
        return self

    @property
    def lifts_images(self) -> bool:
        return self.view_transform is not None

    @property
    def head_sees_images(self) -> bool:
        return getattr(self.head, "sees_images", False)

    @property
    def uses_cameras(self) -> bool:
        """Whether the network has a camera branch; refiners may look at images too, see `cameras`."""
        return self.images is not None

    @property
    def cameras_stand_in(self) -> bool:
        """Whether the camera branch counts for frames without a point only."""
        alone = self.late is not None and not self.late.needs_both
        return alone and self.fuser is None and self.decoration is None and not self.head_sees_images

    @property
    def cameras(self) -> tuple[str, ...]:
        """Every camera that the detector looks at."""
        names = list(self.images.cameras if self.images else ())
        for refiner in self.refiners:
            names += getattr(refiner, "cameras", ())
        return tuple(dict.fromkeys(names))

    @property
    def uses_lidar(self) -> bool:
        return self.points is not None


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> DetectorConfig:
    """Read and check a YAML file; `overrides` like "training.epochs=3" stand for what it says there.

    Raises InputError if it is missing, is no YAML, or has keys or values that the configuration does not know.
    """
    data = overridden(read_sections(Path(path)), overrides)
    return parse_config(data, f"{path} with {' '.join(overrides)}" if overrides else str(path))


def read_sections(path: Path) -> dict:
    """The sections of a configuration file; InputError if it is missing or holds anything else."""
    if not is_file(path):
        raise InputError(str(path), "a configuration file (.yaml)", "no such file", "see configs/")
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise InputError(str(path), "a mapping of sections", type(data).__name__)
    return data


def config_text(config: DetectorConfig) -> str:
    """The configuration as a file has it: `load_config` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude_none=True, serialize_as_any=True), sort_keys=False)


def parse_config(data: dict, what: str = "configuration") -> DetectorConfig:
    """Check configuration data; the first mistake raises InputError, told by its place in the file."""
    try:
        return DetectorConfig.model_validate(data)
    except ValidationError as error:
        raise input_error_of(error, what) from error


def input_error_of(error: ValidationError, what: str) -> InputError:
    """The first mistake that a validation found, told by its place in the file that `what` names."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, ValidationError):  # a plug-in's own section
        return input_error_of(inner, f"{what}: {place}")
    text = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if (": " + text).count(": expected ") == 1:  # a mistake within the section may name its own place
        where, _, text = (": " + text).partition(": expected ")
        place += where
    expected, separator, got = text.partition(", got ")
    if first["type"] == "missing":
        expected, got = "a value", "none"
    elif not separator:
        got = repr(first["input"])
    return InputError(f"{what}: {place}" if place else what, expected, got)
