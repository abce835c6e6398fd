"""Configuration values from the command line."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import yaml

from calibration.errors import InputError


def overridden(data: dict, overrides: Sequence[str]) -> dict:
    """A copy of configuration data in which "section.key=value", the value as YAML reads it, took the place of its own.

    Raises InputError for anything that isn't of this form. Unknown keys are parse_config's to find.
    """
    data = copy.deepcopy(data)
    for override in overrides:
        path, equals, value = override.partition("=")
        *sections, key = path.split(".")
        if not (equals and all([*sections, key])):
            raise InputError("override", "section.key=value", repr(override))
        section = data
        for name in sections:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise InputError(f"override {override!r}", f"{name} to be a section", f"{section!r:.80}")
        try:
            section[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"override {override!r}", "a value that is YAML", " ".join(str(error).split())) from error
    return data
