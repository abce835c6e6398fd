"""The LiveRig: which topic is which sensor, when each measures, and where calibration and ego poses come from.

One YAML file serves bags and the live node; configs/rigs/ has an example in which every key is explained. Keys that are
unknown, topics given twice and references to sensors that aren't there raise InputError when the file is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from calibration.errors import InputError
from calibration.rig import Rig
from calibration.spelling import did_you_mean
from perception.config import Settings, input_error_of, read_sections
from perception.timing.settings import SensorSettings as SyncSensor
from perception.timing.settings import SyncSettings

MS = 1_000_000  # ns
KINDS = {  # of a sensor -> of its messages
    "cloud": "sensor_msgs/msg/PointCloud2",
    "image": "sensor_msgs/msg/Image",
    "compressed": "sensor_msgs/msg/CompressedImage",
}
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POSE_KINDS = {"tf": "tf2_msgs/msg/TFMessage", "odometry": "nav_msgs/msg/Odometry"}


class QosSettings(Settings):
    """How the live node subscribes."""

    reliability: Literal["reliable", "best_effort"] = "best_effort"  # best effort also hears reliable publishers
    depth: int = Field(5, ge=1)  # messages that wait for the node


class SensorSettings(Settings):
    """One sensor."""

    kind: Literal["cloud", "image", "compressed"]
    topic: str
    frame: str  # frame id of its messages, and its name in /tf
    camera_info: str | None = None  # topic; cameras need it unless the rig has a calibration
    rate_hz: float = Field(gt=0)  # nominal
    offset_ms: float = 0.0  # its stamp less the reference's, as expected
    tolerance_ms: float = Field(ge=0)  # how far from that its stamp may be
    latency_ms: float = Field(0.0, ge=0)  # from stamp to arrival
    # What the live node does while nothing usable comes of it: detect without it, and say so; detect nothing; or detect
    # without it as if it weren't there, and never wait for it.
    missing: Literal["degrade", "blind", "ignore"] = "degrade"
    qos: QosSettings = QosSettings()

    @property
    def is_camera(self) -> bool:
        return self.kind != "cloud"

    @model_validator(mode="after")
    def _cameras_only_have_info(self) -> SensorSettings:
        if self.camera_info and not self.is_camera:
            raise ValueError(f"expected camera_info of cameras only, got {self.camera_info!r} of a cloud")
        return self


class PoseSettings(Settings):
    """Where ego poses come from."""

    kind: Literal["tf", "odometry"]
    topic: str | None = None  # of odometry; with tf it is tf_topic
    max_gap_ms: float = Field(1000.0, gt=0)  # between two poses, for what lies between to be known
    max_extrapolation_ms: float = Field(100.0, ge=0)  # before the first and after the last
    wait_ms: float = Field(50.0, ge=0)  # for the poses around a frame, live; then they are extrapolated
    # Live, while none come: detect nothing, or in single sweeps that aren't deskewed, as if the car stood still.
    missing: Literal["blind", "degrade"] = "blind"

    @model_validator(mode="after")
    def _odometry_has_a_topic(self) -> PoseSettings:
        if (self.kind == "odometry") != (self.topic is not None):
            raise ValueError(f"expected a topic for odometry and none for tf, got {self.topic!r} for {self.kind}")
        return self


class SyncFileSettings(Settings):
    """How messages become frames, see perception/timing/settings.py."""

    references: tuple[str, ...]  # sensors that frames go by; the first must be the LiDAR
    budget_ms: float = Field(100.0, gt=0)  # a frame goes out this long after its reference came, complete or not
    jump_ms: float = Field(1000.0, gt=0)
    # To wait less for what won't come, at the risk of missing it; null: the live node does, what reads bags doesn't.
    skip_silent: bool | None = None
    in_order: bool | None = None
    correct_offsets: bool = False


class HealthSettings(Settings):
    """When the live node counts a sensor as lost, and as back, see perception/live/health.py."""

    lost_ms: float = Field(500.0, gt=0)  # without anything usable, but never less than three of its periods
    recover_ms: float = Field(300.0, ge=0)  # of usable measurements
    patience_ms: float = Field(200.0, ge=0)  # a frame without a sensor that isn't lost is made only after so long


class LiveRig(Settings):
    """A vehicle as its topics tell of it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    format: Literal["bevfuse-live-rig-1"] = "bevfuse-live-rig-1"
    world_frame: str = "map"
    ego_frame: str = "base_link"
    tf_topic: str = "/tf"
    tf_static_topic: str = "/tf_static"
    poses: PoseSettings
    sync: SyncFileSettings
    health: HealthSettings = HealthSettings()
    sweep_age_ms: float = Field(1000.0, ge=0)  # clouds older than this aren't added to a frame's
    sensors: dict[str, SensorSettings]
    # In the file: a rig file's content (calibration/rig.py), or its path from this file's folder. Without it, where
    # sensors are mounted comes from tf_static_topic and how cameras image from their camera_info.
    calibration: Rig | None = None

    @model_validator(mode="after")
    def _sensors_fit_together(self) -> LiveRig:
        clouds = [name for name, sensor in self.sensors.items() if not sensor.is_camera]
        if len(clouds) != 1:
            raise ValueError(f"expected one sensor of kind cloud, got {', '.join(clouds) or 'none'}")
        for name in self.sync.references:
            if name not in self.sensors:
                fix = did_you_mean(name, self.sensors)
                raise ValueError(f"expected sync.references to be sensors, got {name!r}; {fix}")
        if self.sync.references[:1] != tuple(clouds):
            raise ValueError(f"expected sync.references to begin with {clouds[0]}, got {self.sync.references}")
        if self.calibration is None:
            bare = [name for name, sensor in self.sensors.items() if sensor.is_camera and not sensor.camera_info]
            if bare:
                raise ValueError(f"expected a calibration or a camera_info for every camera, got none for {bare[0]}")
        for name, sensor in self.sensors.items() if self.calibration else ():
            self._check_calibration(name, sensor)
        topics = [topic for topic, _ in self._subscriptions(self.sensors)]
        twice = next((topic for topic in topics if topics.count(topic) > 1), None)
        if twice is not None:
            raise ValueError(f"expected each topic once, got {twice} more than once")
        return self

    def _check_calibration(self, name: str, sensor: SensorSettings) -> None:
        known = self.calibration.sensors
        if name not in known:
            fix = did_you_mean(name, known)
            raise ValueError(f"expected a calibration of {name}, for {sensor.topic}, got {', '.join(known)}; {fix}")
        kind = "camera" if sensor.is_camera else "lidar"
        if known[name].kind != kind:
            raise ValueError(f"expected a calibration of {name} as a {kind}, got one as a {known[name].kind}")

    @property
    def lidar(self) -> str:
        """The name of the sensor whose clouds frames are made of."""
        return next(name for name, sensor in self.sensors.items() if not sensor.is_camera)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras' names."""
        return tuple(name for name, sensor in self.sensors.items() if sensor.is_camera)

    @property
    def pose_topic(self) -> str:
        """Where ego poses come from."""
        return self.poses.topic or self.tf_topic

    def topics(self, sensors: Collection[str]) -> dict[str, str]:
        """The topics that tell something for frames of these sensors, and their messages' kinds."""
        # With a calibration too, a part of the way from the world to the ego frame may be static.
        static = {self.tf_static_topic: POSE_KINDS["tf"]} if self.poses.kind == "tf" else {}
        return static | dict(self._subscriptions(sensors))

    def check_sensors(self, wanted: Iterable[str]) -> None:
        """Raise InputError for a sensor that isn't in here."""
        for name in wanted:
            if name not in self.sensors:
                expected = f"a rig with {name}, which the detector needs"
                got = ", ".join(self.sensors)
                raise InputError("rig", expected, got, did_you_mean(name, self.sensors))

    def check_topics(self, present: dict[str, str], sensors: Collection[str], where: str) -> None:
        """Raise InputError unless all topics that these sensors need are present (name -> kind), of the right kind."""
        for topic, kind in self._subscriptions(sensors):
            if topic not in present:
                fix = did_you_mean(topic, present)
                raise InputError(where, f"a topic {topic}", f"{len(present)} others", fix)
            if present[topic] != kind:
                raise InputError(f"{where}: topic {topic}", kind, present[topic], "correct the kind in the rig")

    def sync_settings(self, sensors: Collection[str], live: bool = False) -> SyncSettings:
        """What the synchroniser must know of these sensors; live it waits less, unless the file says otherwise."""
        chosen = {name: _sync_sensor(sensor) for name, sensor in self.sensors.items() if name in sensors}
        references = tuple(name for name in self.sync.references if name in chosen)
        sync = self.sync
        return SyncSettings(
            chosen,
            references,
            budget_ns=_ns(sync.budget_ms),
            jump_ns=_ns(sync.jump_ms),
            skip_silent=live if sync.skip_silent is None else sync.skip_silent,
            in_order=live if sync.in_order is None else sync.in_order,
            correct_offsets=sync.correct_offsets,
        )

    def _subscriptions(self, sensors: Collection[str]) -> list[tuple[str, str]]:
        """Topics that must be there and their kinds, as often as they are named."""
        found = [(self.pose_topic, POSE_KINDS[self.poses.kind])]
        if self.calibration is None:
            found.append((self.tf_static_topic, POSE_KINDS["tf"]))
        for sensor in (self.sensors[name] for name in sensors):
            found.append((sensor.topic, KINDS[sensor.kind]))
            if sensor.camera_info and self.calibration is None:
                found.append((sensor.camera_info, CAMERA_INFO))
        return found


def load_live_rig(path: str | Path) -> LiveRig:
    """Read and check a rig file, and the calibration that it names; InputError for what is wrong in either."""
    path = Path(path)
    sections = read_sections(path)
    if isinstance(sections.get("calibration"), str):
        sections["calibration"] = Rig.load(path.parent / sections["calibration"])
    elif sections.get("calibration") is not None:
        sections["calibration"] = Rig.parse(sections["calibration"], f"{path}: calibration")
    try:
        rig = LiveRig.model_validate(sections)
    except ValidationError as error:
        raise input_error_of(error, str(path)) from error
    try:
        rig.sync_settings(rig.sensors, live=True)
    except InputError as error:
        raise InputError(f"{path}: sync", "settings that fit together", f"{error}") from error
    return rig


def _sync_sensor(sensor: SensorSettings) -> SyncSensor:
    return SyncSensor(
        period_ns=round(1e9 / sensor.rate_hz),
        tolerance_ns=_ns(sensor.tolerance_ms),
        offset_ns=_ns(sensor.offset_ms),
        latency_ns=_ns(sensor.latency_ms),
    )


def _ns(ms: float) -> int:
    return round(ms * MS)
