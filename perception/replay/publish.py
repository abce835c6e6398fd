"""A stream on ROS topics, its bytes as they are. Needs rclpy: a ROS installation, or its wheels (extra `ros2`)."""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from calibration.errors import InputError
from perception.ros.bags import TimedMessage, Topic

NODE = "bevfuse_replay"
LOOK_EVERY_S, SETTLE_S = 0.05, 0.5


class Publisher:
    """Publishers of all topics whose kind of message is installed."""

    def __init__(self, node: Any, topics: Mapping[str, Topic], say: Callable[[str], None]) -> None:
        """Raises InputError where no topic can be published."""
        self.without: dict[str, str] = {}  # topics whose kind isn't installed
        self._publishers: dict[str, Any] = {}
        for name, topic in topics.items():
            kind = message_class(topic.kind)
            if kind is None:
                self.without[name] = topic.kind
            else:
                self._publishers[name] = node.create_publisher(kind, name, _quality(topic))
        for name, kind in self.without.items():
            say(f"{name} is left out: {kind} is not installed")
        if not self._publishers:
            raise InputError("topics", "one whose kind of message is installed", ", ".join(self.without) or "none")

    def publish(self, message: TimedMessage) -> bool:
        """Send one -> whether it was: not where its topic is left out."""
        publisher = self._publishers.get(message.topic)
        if publisher is not None:
            publisher.publish(message.data)
        return publisher is not None

    def is_heard(self, topic: str) -> bool:
        """Whether anybody listens to a topic."""
        return topic in self._publishers and self._publishers[topic].get_subscription_count() > 0

    def wait_for_subscriber(self, at_most_s: float) -> bool:
        """Wait until somebody listens to any topic, and a moment longer; False where nobody does in time.

        The subscriptions of a process are found one after the other: who is heard on one topic may miss the first
        messages on another.
        """
        until = time.monotonic() + at_most_s
        while not any(map(self.is_heard, self._publishers)):
            if time.monotonic() > until:
                return False
            time.sleep(LOOK_EVERY_S)
        time.sleep(SETTLE_S)
        return True

    def drain(self, at_most_s: float = 2.0) -> None:
        """Wait until every reliable subscriber has what was sent."""
        from rclpy.duration import Duration

        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=at_most_s))


def check_rclpy() -> None:
    """Raise InputError where rclpy can't be imported."""
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        fix = "source a ROS 2 installation, or pip install -c constraints.txt -e '.[ros2]'"
        raise InputError("rclpy", "it to be installed", str(error), fix) from error


@contextmanager
def ros_node(name: str = NODE) -> Iterator[Any]:
    """A node in a ROS context of its own; InputError where rclpy can't be imported."""
    check_rclpy()
    import rclpy
    from rclpy.context import Context

    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node(name, context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def publish_all(publisher: Publisher, messages: Iterable[TimedMessage]) -> int:
    """Send messages as they come -> how many were sent."""
    return sum(publisher.publish(message) for message in messages)


@functools.cache
def message_class(kind: str) -> Any | None:
    """The class of a kind like "sensor_msgs/msg/Image", None where its package isn't installed."""
    package, _, name = kind.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name, None)
    except ImportError:
        return None


def _quality(topic: Topic) -> Any:
    """Reliable, so that any subscriber hears it; what is latched is kept for those who come later."""
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    durability = DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE
    return QoSProfile(depth=1 if topic.latched else 10, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
