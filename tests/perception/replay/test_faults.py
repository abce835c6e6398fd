"""Faults do what their texts say, to what they name, and the same again with the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import InputError
from calibration.transform import Transform
from perception.replay.damage import COMPRESSED, DAMAGES, with_later_stamps
from perception.replay.faults import Fault, Faulty
from perception.ros.bags import TimedMessage, Topic
from perception.ros.clouds import cloud_from_message, cloud_message
from perception.ros.codec import Codec, header_of
from perception.ros.fields import stamp_ns_of
from perception.ros.images import compressed_message, image_from_compressed, image_from_message, image_message
from perception.ros.poses import (
    ego_pose_from_odometry,
    odometry_message,
    transform_from_message,
    transform_message,
)

pytest.importorskip("rosbags")
CODEC = Codec()
STEP_NS, BEGIN_NS = 50_000_000, 1_533_000_000_000_000_000
CLOUD, IMAGE, TF_STATIC = "/LIDAR_TOP/points", "/CAM_FRONT/image", "/tf_static"
EVERY_KIND = (
    "drop:all:0.3",
    "delay:LIDAR_TOP:0.12",
    "jitter:all:0.2",
    "offset:CAM_FRONT:-0.5",
    "jump:all:0.3:-10",
    "thin:CAM_FRONT:3",
    "reorder:all:0.4",
    "duplicate:all:0.3",
    "kill:LIDAR_TOP:0.2:0.6",
    "garble:all:0.5",
    "truncate:LIDAR_TOP:0.5",
    "nan:LIDAR_TOP:0.5",
    "resize:CAM_FRONT:0.5",
)


@dataclass(frozen=True)
class Made:
    """A stream of clouds and images, twenty a second of each, after a static transform."""

    count: int = 20

    @property
    def topics(self) -> Mapping[str, Topic]:
        return {
            CLOUD: Topic("sensor_msgs/msg/PointCloud2"),
            IMAGE: Topic("sensor_msgs/msg/Image"),
            TF_STATIC: Topic("tf2_msgs/msg/TFMessage", latched=True),
        }

    def __len__(self) -> int:
        return 2 * self.count + 1

    def __iter__(self) -> Iterator[TimedMessage]:
        yield self.timed(TF_STATIC, BEGIN_NS, CODEC.make("tf2_msgs/msg/TFMessage", transforms=[]))
        for number in range(self.count):
            now_ns = BEGIN_NS + number * STEP_NS
            points = np.full((20, 4), number, np.float32)
            yield self.timed(CLOUD, now_ns, cloud_message(CODEC.make, now_ns, "lidar", points))
            image = np.full((8, 12, 3), number, np.uint8)
            yield self.timed(IMAGE, now_ns + 1000, image_message(CODEC.make, now_ns, "camera", image))

    def timed(self, topic: str, now_ns: int, message: object) -> TimedMessage:
        return TimedMessage(topic, self.topics[topic].kind, now_ns, CODEC.encode(message))


def faulty(*texts: str, seed: int = 0, count: int = 20) -> list[TimedMessage]:
    return list(Faulty(Made(count), [Fault.parse(text) for text in texts], seed))


def of(topic: str, messages: list[TimedMessage]) -> list[TimedMessage]:
    return [message for message in messages if message.topic == topic]


WHOLE = list(Made())


@given(st.lists(st.sampled_from(EVERY_KIND), max_size=4), st.integers(0, 9))
def test_time_never_goes_back_and_the_same_seed_gives_the_same(texts: list[str], seed: int) -> None:
    once = faulty(*texts, seed=seed, count=8)
    assert [message.received_ns for message in once] == sorted(message.received_ns for message in once)
    assert faulty(*texts, seed=seed, count=8) == once
    assert of(TF_STATIC, once) == WHOLE[:1]


def test_another_seed_gives_others() -> None:
    assert faulty("drop:all:0.5", seed=1) != faulty("drop:all:0.5", seed=2)


def test_nothing_is_lost_at_0_and_all_at_1() -> None:
    assert faulty("drop:all:0") == WHOLE
    assert faulty("drop:LIDAR_TOP:1") == [message for message in WHOLE if message.topic != CLOUD]


def test_a_dead_sensor_is_silent_from_the_first_time_to_the_second() -> None:
    alive = [m.received_ns for m in of(CLOUD, faulty("kill:LIDAR_TOP:0.2:0.5"))]
    assert alive == [BEGIN_NS + n * STEP_NS for n in range(20) if not 4 <= n < 10]
    assert of(IMAGE, faulty("kill:LIDAR_TOP:0.2:0.5")) == of(IMAGE, WHOLE)


def test_delayed_messages_come_later_and_say_the_same() -> None:
    for one, late in zip(of(CLOUD, WHOLE), of(CLOUD, faulty("delay:LIDAR_TOP:0.12")), strict=True):
        assert (late.received_ns - one.received_ns, late.data) == (120_000_000, one.data)


def test_jitter_makes_messages_overtake_each_other_and_loses_none() -> None:
    got = of(CLOUD, faulty("jitter:all:0.2"))
    stamps = [header_of(message.data)[0] for message in got]
    assert stamps != sorted(stamps)
    assert sorted(stamps) == [header_of(message.data)[0] for message in of(CLOUD, WHOLE)]
    late_ns = [message.received_ns - stamp for message, stamp in zip(got, stamps, strict=True)]
    assert 0 <= min(late_ns) < max(late_ns) <= 200_000_000


def test_a_wrong_clock_shows_in_the_stamps_alone() -> None:
    for one, other in zip(of(IMAGE, WHOLE), of(IMAGE, faulty("offset:CAM_FRONT:-0.5")), strict=True):
        assert header_of(other.data)[0] - header_of(one.data)[0] == -500_000_000
        assert (other.received_ns, other.data[12:]) == (one.received_ns, one.data[12:])


def test_clocks_jump_at_a_time_and_stay_off() -> None:
    for one, other in zip(of(CLOUD, WHOLE), of(CLOUD, faulty("jump:all:0.5:-10")), strict=True):
        by_ns = -10_000_000_000 if one.received_ns - BEGIN_NS >= 500_000_000 else 0
        assert header_of(other.data)[0] - header_of(one.data)[0] == by_ns
        assert other.received_ns == one.received_ns


def test_of_a_thinned_topic_each_second_message_comes() -> None:
    assert of(CLOUD, faulty("thin:LIDAR_TOP:2")) == of(CLOUD, WHOLE)[::2]
    assert of(IMAGE, faulty("thin:LIDAR_TOP:2")) == of(IMAGE, WHOLE)


def test_transforms_and_odometry_jump_and_are_nowhere() -> None:
    pose = transform_message(CODEC.make, BEGIN_NS, "map", "base_link", Transform.identity())
    kind, odometry = "tf2_msgs/msg/TFMessage", "nav_msgs/msg/Odometry"
    transforms = CODEC.encode(CODEC.make(kind, transforms=[pose, pose]))
    later = CODEC.decode(with_later_stamps(transforms, kind, -(10**10), "/tf"), kind)
    assert [stamp_ns_of(placed) for placed in later.transforms] == [BEGIN_NS - 10**10] * 2
    nowhere = CODEC.decode(DAMAGES["nan"][kind](transforms, np.random.default_rng(0)), kind)
    with pytest.raises(InputError, match="transform"):
        transform_from_message(nowhere.transforms[1].transform)
    moved = CODEC.encode(odometry_message(CODEC.make, BEGIN_NS, "map", "base_link", Transform.identity()))
    moved = CODEC.decode(DAMAGES["nan"][odometry](moved, np.random.default_rng(0)), odometry)
    with pytest.raises(InputError, match="odometry"):
        ego_pose_from_odometry(moved, "map", "base_link")


def test_neighbours_change_places() -> None:
    got = [header_of(message.data)[0] for message in of(CLOUD, faulty("reorder:LIDAR_TOP:1"))]
    stamps = [header_of(message.data)[0] for message in of(CLOUD, WHOLE)]
    assert got == [stamps[number ^ 1] for number in range(20)]
    odd = of(CLOUD, faulty("reorder:LIDAR_TOP:1", count=3))
    assert len(odd) == 3


def test_duplicates_say_the_same() -> None:
    twice = Counter(message.data for message in of(CLOUD, faulty("duplicate:LIDAR_TOP:1")))
    assert set(twice.values()) == {2}
    assert set(twice) == {message.data for message in of(CLOUD, WHOLE)}


def test_truncated_data_is_refused_by_the_readers() -> None:
    got = faulty("truncate:all:1")
    for topic, read in ((CLOUD, cloud_from_message), (IMAGE, image_from_message)):
        for message in of(topic, got):
            with pytest.raises(InputError, match=r"data: expected \d+ bytes"):
                read(CODEC.decode(message.data, message.kind))


def test_points_that_are_not_numbers_are_dropped_by_the_reader() -> None:
    dropped = [
        cloud_from_message(CODEC.decode(message.data, message.kind))[0].dropped
        for message in of(CLOUD, faulty("nan:LIDAR_TOP:1"))
    ]
    assert sum(dropped) == pytest.approx(0.1 * 20 * 20, abs=20)


def test_garbled_messages_keep_their_length_and_differ() -> None:
    got = faulty("garble:LIDAR_TOP:1", "nan:LIDAR_TOP:1")
    assert of(IMAGE, got) == of(IMAGE, WHOLE)
    pairs = list(zip(of(CLOUD, WHOLE), of(CLOUD, got), strict=True))
    assert all(len(one.data) == len(other.data) for one, other in pairs)
    assert sum(one.data != other.data for one, other in pairs) > 15


def test_images_come_in_half_their_size() -> None:
    for message in of(IMAGE, faulty("resize:CAM_FRONT:1")):
        assert image_from_message(CODEC.decode(message.data, message.kind)).shape == (4, 6, 3)


def test_compressed_images_too() -> None:
    import cv2

    file = cv2.imencode(".jpg", np.full((8, 12, 3), 90, np.uint8))[1].tobytes()
    data = CODEC.encode(compressed_message(CODEC.make, 1, "camera", file))
    damaged = DAMAGES["resize"][COMPRESSED](data, np.random.default_rng(0))
    assert image_from_compressed(CODEC.decode(damaged, COMPRESSED)).shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kil:CAM_FRONT:1:2", "got 'kil'; did you mean kill"),
        ("drop", "expected drop:TARGET:PROBABILITY with a probability from 0 to 1, got ''"),
        ("drop:all:1.5", "a probability from 0 to 1"),
        ("drop:all:often", "got 'all:often'"),
        ("jitter:all:-0.1", "seconds >= 0"),
        ("kill:all:5:2", "0 <= FROM < UNTIL"),
        ("kill:all:1", "expected kill:TARGET:FROM:UNTIL"),
        ("thin:all:1.5", "a whole number >= 1"),
        ("jump:all:-1:10", "expected jump:TARGET:FROM:SECONDS with seconds, FROM >= 0"),
        ("offset:all:nan", "expected offset:TARGET:SECONDS"),
    ],
)
def test_a_text_that_says_nothing_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Fault.parse(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("drop:CAM_FRONTT:1", "did you mean CAM_FRONT"),
        ("nan:CAM_FRONT:1", "a target that this kind of fault can hit"),
        ("truncate:tf_static:1", "a target that this kind of fault can hit"),
    ],
)
def test_a_target_that_is_not_there_or_cannot_be_hit_is_refused_before_anything_is_read(
    text: str, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        Faulty(Made(), [Fault.parse(text)])
