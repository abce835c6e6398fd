"""The cameras' own boxes for frames without a point, the main stream's for all others: two detectors and no fusion.

What a frame's boxes gain from the other sensor is then the refiner's part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from perception.config import Settings as BaseSettings
from perception.types import Boxes3D


class Settings(BaseSettings):
    """No numbers."""

    name: Literal["fallback"] = "fallback"
    needs_both: ClassVar[bool] = False  # the cameras' stream isn't even computed where every frame has points

    def build(self) -> Fallback:
        return Fallback()


@dataclass(frozen=True)
class Fallback:
    """See the contract."""

    def __call__(self, main: Boxes3D | None, camera: Boxes3D | None) -> Boxes3D:
        if main is None and camera is None:
            raise ValueError("boxes to choose from: expected those of one stream at least, got none")
        return camera if main is None else main
