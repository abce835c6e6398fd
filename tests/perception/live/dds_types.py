"""ROS 2 messages as OMG IDL types, by their definitions: what comes over the wire, to one who has no ROS.

Needs `cyclonedds`. ROS calls the type of std_msgs/msg/String `std_msgs::msg::dds_::String_`.
"""

# No `from __future__ import annotations`: cyclonedds reads the annotations themselves.
from dataclasses import dataclass

from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import float32, float64, int32, sequence, uint8, uint32


def _name(kind: str) -> str:
    package, name = kind.split("/")
    return f"{package}.msg.dds_.{name}_"


@dataclass
class String(IdlStruct, typename=_name("std_msgs/String")):
    data: str


@dataclass
class Time(IdlStruct, typename=_name("builtin_interfaces/Time")):
    sec: int32
    nanosec: uint32


@dataclass
class Duration(IdlStruct, typename=_name("builtin_interfaces/Duration")):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename=_name("std_msgs/Header")):
    stamp: Time
    frame_id: str


@dataclass
class KeyValue(IdlStruct, typename=_name("diagnostic_msgs/KeyValue")):
    key: str
    value: str


@dataclass
class DiagnosticStatus(IdlStruct, typename=_name("diagnostic_msgs/DiagnosticStatus")):
    level: uint8
    name: str
    message: str
    hardware_id: str
    values: sequence[KeyValue]


@dataclass
class DiagnosticArray(IdlStruct, typename=_name("diagnostic_msgs/DiagnosticArray")):
    header: Header
    status: sequence[DiagnosticStatus]


@dataclass
class Point(IdlStruct, typename=_name("geometry_msgs/Point")):
    x: float64
    y: float64
    z: float64


@dataclass
class Vector3(IdlStruct, typename=_name("geometry_msgs/Vector3")):
    x: float64
    y: float64
    z: float64


@dataclass
class Quaternion(IdlStruct, typename=_name("geometry_msgs/Quaternion")):
    x: float64
    y: float64
    z: float64
    w: float64


@dataclass
class Pose(IdlStruct, typename=_name("geometry_msgs/Pose")):
    position: Point
    orientation: Quaternion


@dataclass
class ColorRGBA(IdlStruct, typename=_name("std_msgs/ColorRGBA")):
    r: float32
    g: float32
    b: float32
    a: float32


@dataclass
class CompressedImage(IdlStruct, typename=_name("sensor_msgs/CompressedImage")):
    header: Header
    format: str
    data: sequence[uint8]


@dataclass
class UVCoordinate(IdlStruct, typename=_name("visualization_msgs/UVCoordinate")):
    u: float32
    v: float32


@dataclass
class MeshFile(IdlStruct, typename=_name("visualization_msgs/MeshFile")):
    filename: str
    data: sequence[uint8]


@dataclass
class Marker(IdlStruct, typename=_name("visualization_msgs/Marker")):
    header: Header
    ns: str
    id: int32
    type: int32
    action: int32
    pose: Pose
    scale: Vector3
    color: ColorRGBA
    lifetime: Duration
    frame_locked: bool
    points: sequence[Point]
    colors: sequence[ColorRGBA]
    texture_resource: str
    texture: CompressedImage
    uv_coordinates: sequence[UVCoordinate]
    text: str
    mesh_resource: str
    mesh_file: MeshFile
    mesh_use_embedded_materials: bool


@dataclass
class MarkerArray(IdlStruct, typename=_name("visualization_msgs/MarkerArray")):
    markers: sequence[Marker]


@dataclass
class PointField(IdlStruct, typename=_name("sensor_msgs/PointField")):
    name: str
    offset: uint32
    datatype: uint8
    count: uint32


@dataclass
class PointCloud2(IdlStruct, typename=_name("sensor_msgs/PointCloud2")):
    header: Header
    height: uint32
    width: uint32
    fields: sequence[PointField]
    is_bigendian: bool
    point_step: uint32
    row_step: uint32
    data: sequence[uint8]
    is_dense: bool
