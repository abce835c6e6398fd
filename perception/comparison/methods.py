"""The file that says what is compared: configs/comparisons/fusion.yaml is one.

    base: ../sim_fusion_maps.yaml               the configuration that methods change
    weights: [sim_camera, sim_lidar]            what all that is trained starts from: shipped names, or files
    overrides: [training.epochs=1, ...]         for all of them: the budget
    methods:
      - {name: graph, level: maps, overrides: ['fuser={name: graph, reach: 2}']}
      - {name: boxes, level: boxes, trained: false, overrides: [fuser=null, 'late={name: boxes}']}
      - {name: LiDAR alone, level: none, config: ../sim_lidar.yaml}           with the weights in the package

Paths are seen from the file's folder.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.checkpoints.shipped import FOLDER, SUFFIX, shipped_names
from perception.config import DetectorConfig, Settings, input_error_of, load_config, read_sections


class Method(Settings):
    """One row of the table."""

    name: str = Field(min_length=1)
    level: str  # of fusion
    overrides: tuple[str, ...] = ()  # of the base
    trained: bool = True  # false: the weights that it starts from are all it needs
    config: str | None = None  # a detector that comes with weights, instead
    of: str | None = None  # the method that this one is again, with another seed

    @model_validator(mode="after")
    def _one_way(self) -> Method:
        if self.config is not None and self.overrides:
            raise ValueError(f"{self.name}: expected config or overrides, got both")
        return self

    @property
    def folder(self) -> str:
        """A name for files."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name)


class Methods(Settings):
    """The file's content."""

    base: str
    weights: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    methods: tuple[Method, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> Methods:
        names = [method.folder for method in self.methods]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"expected methods of different names, got {', '.join(sorted(twice))} twice")
        for method in self.methods:
            if method.of is not None and method.of not in {other.name for other in self.methods}:
                raise ValueError(f"{method.name}: expected `of` to be another method, got {method.of!r}")
        return self


def read_methods(path: Path) -> Methods:
    """Read and check the file; InputError for what it doesn't know."""
    try:
        return Methods.model_validate(read_sections(path))
    except ValidationError as error:
        raise input_error_of(error, str(path)) from error


def chosen(methods: Methods, names: tuple[str, ...]) -> tuple[Method, ...]:
    """The methods of these names, or all; InputError for an unknown one."""
    known = [method.name for method in methods.methods]
    for name in names:
        if name not in known:
            raise InputError("--methods", "names of the file's methods", repr(name), did_you_mean(name, known))
    return tuple(method for method in methods.methods if not names or method.name in names)


def config_of(methods: Methods, method: Method, folder: Path) -> DetectorConfig:
    """The detector of a method; InputError for a base or overrides that can't be used."""
    if method.config is not None:
        return load_config(folder / method.config)
    return load_config(folder / methods.base, (*methods.overrides, *method.overrides))


def weights_of(methods: Methods, folder: Path) -> list[Path]:
    """The checkpoints that everything starts from; InputError for one that isn't there."""
    found = []
    for name in methods.weights:
        path = FOLDER / f"{name}{SUFFIX}" if name in shipped_names() else folder / name
        if not path.is_file():
            raise InputError(f"weights {name!r}", f"a file, or one of {', '.join(shipped_names())}", "neither")
        found.append(path)
    return found
