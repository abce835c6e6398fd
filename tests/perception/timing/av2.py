"""One real Argoverse 2 drive: poses, tracked boxes and a sweep whose points have times."""

import numpy as np

from calibration.transform import Transform
from perception.types import EgoPose
from tests.data import ROOT

LOG = ROOT / "data" / "av2_log"


def columns(pattern: str) -> dict[str, np.ndarray]:
    """A table of the drive, by column."""
    import pyarrow.feather

    table = pyarrow.feather.read_table(next(LOG.glob(pattern)))
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.schema.names}


def together(table: dict[str, np.ndarray], *names: str) -> np.ndarray:
    return np.stack([table[name] for name in names], axis=1).astype(np.float64)


def poses() -> list[EgoPose]:
    """Of 16 s, at uneven stamps, some a nanosecond apart; the car stands, then drives at up to 6 m/s."""
    table = columns("*/city_SE3_egovehicle.feather")
    rows = zip(together(table, "qw", "qx", "qy", "qz"), together(table, "tx_m", "ty_m", "tz_m"), strict=True)
    turned = [Transform.from_quaternion(quaternion, place) for quaternion, place in rows]
    return [EgoPose(int(stamp), pose) for stamp, pose in zip(table["timestamp_ns"], turned, strict=True)]


def sweep() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, 3) in the ego frame, times since the sweep's stamp [ns], and which of two LiDARs measured each.

    The car stood while it was taken: it is sharp without anyone's doing.
    """
    table = columns("*/sensors/lidar/*.feather")
    return together(table, "x", "y", "z"), table["offset_ns"].astype(np.int64), table["laser_number"] >= 32


def vehicles() -> list[dict[int, np.ndarray]]:
    """The centre of each vehicle's box in the ego frame, by stamp."""
    table = columns("*/annotations.feather")
    centres = together(table, "tx_m", "ty_m", "tz_m")
    of_vehicles = table["category"] == "REGULAR_VEHICLE"
    tracks = [of_vehicles & (table["track_uuid"] == track) for track in np.unique(table["track_uuid"][of_vehicles])]
    return [dict(zip(table["timestamp_ns"][rows].tolist(), centres[rows], strict=True)) for rows in tracks]
