"""Light and weather of a scene."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

NAMES = ("day", "overcast", "dusk", "rain", "fog")
SHARES = (0.35, 0.22, 0.17, 0.16, 0.10)


@dataclass(frozen=True)
class Conditions:
    """What cameras and the LiDAR are up against."""

    name: str
    sun_elevation: float  # rad
    sun_azimuth: float  # rad, in the city frame
    sun: tuple[float, float, float]  # light on a surface that faces it; 0 when hidden
    sky: tuple[float, float, float]  # light from above
    horizon: tuple[float, float, float]  # colour of the sky near the ground, and of haze
    clouds: float  # 0-1
    haze: float  # 1/m, extinction for cameras
    lidar_haze: float  # 1/m, one way
    wet: float  # 0-1
    dark: float  # 0-1: how much lamps matter
    noise: float  # of the sensor, times that of a bright day
    rain: float = 0.0  # 0-1, falling

    @property
    def sun_direction(self) -> np.ndarray:
        """Unit vector towards the sun."""
        flat = np.cos(self.sun_elevation)
        return np.array([flat * np.cos(self.sun_azimuth), flat * np.sin(self.sun_azimuth), np.sin(self.sun_elevation)])


DAY = Conditions(
    "day", 0.8, 0, (2.6, 2.45, 2.15), (0.62, 0.75, 1.0), (0.72, 0.82, 0.95), 0.4, 0.0012, 0.0, 0.0, 0.0, 1.0
)
OVERCAST = replace(
    DAY,
    name="overcast",
    sun=(0, 0, 0),
    sky=(1.05, 1.1, 1.16),
    horizon=(0.85, 0.88, 0.9),
    clouds=1.0,
    haze=0.0025,
    noise=1.4,
)
DUSK = Conditions(
    "dusk", 0.06, 0, (0.34, 0.17, 0.08), (0.085, 0.105, 0.17), (0.34, 0.21, 0.16), 0.5, 0.0025, 0.0, 0.0, 1.0, 4.0
)
RAIN = replace(
    OVERCAST,
    name="rain",
    sky=(0.62, 0.66, 0.71),
    horizon=(0.56, 0.59, 0.62),
    haze=0.008,
    lidar_haze=0.004,
    wet=1.0,
    dark=0.25,
    noise=2.2,
    rain=1.0,
)
FOG = replace(
    OVERCAST,
    name="fog",
    sky=(0.85, 0.88, 0.9),
    horizon=(0.74, 0.76, 0.78),
    haze=0.026,
    lidar_haze=0.010,
    wet=0.3,
    dark=0.15,
    noise=1.8,
)


def make_conditions(rng: np.random.Generator) -> Conditions:
    """Any of the five, varied."""
    base = {c.name: c for c in (DAY, OVERCAST, DUSK, RAIN, FOG)}[str(rng.choice(NAMES, p=SHARES))]
    elevation = rng.uniform(0.03, 0.12) if base.name == "dusk" else rng.uniform(0.35, 1.15)
    strength = rng.uniform(0.75, 1.25)
    return replace(
        base,
        sun_elevation=elevation,
        sun_azimuth=rng.uniform(-np.pi, np.pi),
        sky=tuple(strength * c for c in base.sky),
        horizon=tuple(strength * c for c in base.horizon),
        haze=base.haze * rng.uniform(0.7, 1.4),
        lidar_haze=base.lidar_haze * rng.uniform(0.7, 1.4),
        clouds=float(np.clip(base.clouds + rng.uniform(-0.3, 0.3), 0, 1)),
        wet=base.wet * rng.uniform(0.7, 1.0),
    )
