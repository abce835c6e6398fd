"""The node in ROS 2: needs rclpy, of a ROS installation or of its wheels (extra `ros2`).

The main thread makes frames and detects; the other hears messages, as bytes, and says now and then how things are. When
the process is asked to end (SIGINT, SIGTERM), the frame in work is finished and everything taken down.

That way round because each thread that computes has OpenMP threads of its own, which sleep at every barrier once there
are more than processors: with the detector loaded in one and run in another, it took a third longer.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from calibration.errors import InputError
from perception.live.core import NodeCore
from perception.live.diagnostics import NAME, statuses
from perception.live.messages import boxes_message, diagnostic_message, json_message, marker_message
from perception.live.reports import Report
from perception.memory import give_back
from perception.replay.publish import check_rclpy, message_class, ros_node
from perception.types import Boxes3D, Frame

STRING, MARKERS = "std_msgs/msg/String", "visualization_msgs/msg/MarkerArray"
BOXES, DIAGNOSTICS = "vision_msgs/msg/Detection3DArray", "diagnostic_msgs/msg/DiagnosticArray"
FAILURES = 5  # frames in a row that a detector may fail at before the node ends
TICK_S, BLIND_S, DIAGNOSE_S, TIDY_S = 0.02, 0.2, 1.0, 10.0
POSE_DEPTH, OUTPUT_DEPTH = 100, 10
Detect = Callable[[Frame], Boxes3D]


def run_node(
    core: NodeCore,
    kinds: Mapping[str, Any],  # of `core.topics`, see kinds_of
    detector: Detect,
    end: threading.Event,
    *,
    marker_threshold: float,
    sim_time: bool = False,
) -> int:
    """Hear, detect and publish until the end -> the number of frames; raises what the detector raises."""
    with ros_node(NAME) as node:
        if sim_time:
            _use_sim_time(node)
        voice = Voice(node, marker_threshold)
        ears = Ears(node, core, kinds)
        listener = Listener(node, core, voice, ears, end)
        node.get_logger().info(f"ready: {len(kinds)} topics")
        listener.start()
        try:
            Worker(core, detector, voice, end).run()
        finally:
            end.set()
            listener.join()
        voice.tell(core)
        node.get_logger().info(f"stopped: {core.counts.detected} frames")
    if listener.failure is not None:
        raise listener.failure
    return core.counts.detected


def kinds_of(topics: Mapping[str, str]) -> dict[str, Any]:
    """The classes of topics' messages; InputError where rclpy or one of them isn't installed."""
    kinds = {}
    check_rclpy()
    for topic, kind in topics.items():
        kinds[topic] = message_class(kind)
        if kinds[topic] is None:
            package = kind.split("/")[0]
            fix = f"install {package}, or give the rig a calibration and poses from odometry"
            raise InputError(f"topic {topic}", f"{kind} to be installed", f"no package {package}", fix)
    return kinds


class Ears:
    """The subscriptions; messages are taken as bytes, so that nothing is decoded that no frame needs."""

    def __init__(self, node: Any, core: NodeCore, kinds: Mapping[str, Any]) -> None:
        self._core, self._clock = core, node.get_clock()
        self._measured = {sensor.topic for sensor in core.rig.sensors.values()}
        qualities = {sensor.topic: sensor.qos for sensor in core.rig.sensors.values()}
        for topic, kind in kinds.items():
            settings = qualities.get(topic)
            reliability, depth = (settings.reliability, settings.depth) if settings else ("best_effort", POSE_DEPTH)
            quality = _quality(reliability, depth, latched=topic == core.rig.tf_static_topic)
            node.create_subscription(kind, topic, partial(self._hear, topic), quality, raw=True)

    def _hear(self, topic: str, data: bytes) -> None:
        now_ns = self.now_ns()
        # With sim time it is 0 until /clock speaks. What is latched comes before that, and only once.
        if now_ns > 0 or topic not in self._measured:
            self._core.hear(topic, data, now_ns)

    def now_ns(self) -> int:
        """ROS time."""
        return self._clock.now().nanoseconds


class Voice:
    """The publishers."""

    def __init__(self, node: Any, marker_threshold: float) -> None:
        self._logger, self._clock, self._threshold = node.get_logger(), node.get_clock(), marker_threshold
        quality = _quality("reliable", OUTPUT_DEPTH)
        kinds = {
            f"/{NAME}/detections": STRING,
            f"/{NAME}/markers": MARKERS,
            f"/{NAME}/boxes": BOXES,
            "/diagnostics": DIAGNOSTICS,
        }
        classes = {topic: message_class(kind) for topic, kind in kinds.items()}
        self._publishers = {
            topic: node.create_publisher(kind, topic, quality) for topic, kind in classes.items() if kind is not None
        }
        if classes[f"/{NAME}/boxes"] is None:
            self._logger.info(f"/{NAME}/boxes is left out: {BOXES} is not installed")

    def say(self, report: Report) -> None:
        """Publish detections, or that there are none."""
        self._publish(f"/{NAME}/detections", lambda: json_message(make, report))
        self._publish(f"/{NAME}/markers", lambda: marker_message(make, report, self._threshold))
        self._publish(f"/{NAME}/boxes", lambda: boxes_message(make, report))

    def tell(self, core: NodeCore) -> None:
        """Write to the log what there is to tell."""
        for remark in core.remarks():
            if remark.startswith("state: ") and "-> nominal" in remark:
                self._logger.info(remark)
            else:
                self._logger.warning(remark)

    def diagnose(self, core: NodeCore) -> None:
        """Publish how things are."""
        now_ns = self._clock.now().nanoseconds
        self._publish("/diagnostics", lambda: diagnostic_message(make, now_ns, statuses(core)))

    def _publish(self, topic: str, message: Callable[[], Any]) -> None:
        if topic in self._publishers:
            self._publishers[topic].publish(message())


class Worker:
    """Takes the newest frame, detects, and says so."""

    def __init__(self, core: NodeCore, detector: Detect, voice: Voice, end: threading.Event) -> None:
        self._core, self._detector, self._voice, self._end = core, detector, voice, end
        self._failed = 0  # frames in a row

    def run(self) -> None:
        """Until the end; raises what the detector raises, if it does so frame after frame."""
        tidied_s = time.monotonic()
        while not self._end.is_set():
            if self._core.wait(TICK_S):
                self._work()
            if time.monotonic() > tidied_s + TIDY_S:
                give_back()
                tidied_s = time.monotonic()

    def _work(self) -> None:
        work = self._core.take()
        if work is None:
            time.sleep(TICK_S / 10)  # a bundle waits for poses
            return
        if not work.detect:
            return
        try:
            boxes = self._detector(work.frame)
        except InputError as error:
            self._core.leave_out(work, str(error))
            return
        except Exception as error:  # one frame that can't be borne is no reason to be blind for all that follow
            self._failed += 1
            if self._failed == FAILURES:
                raise
            self._core.leave_out(work, f"{type(error).__name__}: {error}")
            return
        self._failed = 0
        report = self._core.finish(work, boxes)
        if report is not None:
            began_s = time.perf_counter()
            self._voice.say(report)
            self._core.latencies.add({"publish": 1000 * (time.perf_counter() - began_s)})


def make(kind: str, **fields: Any) -> Any:
    """A message of rclpy's, where a byte is bytes."""
    if kind == "diagnostic_msgs/msg/DiagnosticStatus":
        fields["level"] = bytes([fields["level"]])
    return message_class(kind)(**fields)


class Listener(threading.Thread):
    """Hears until the end, and looks after the rest in between, by the wall clock: /clock may stand still."""

    def __init__(self, node: Any, core: NodeCore, voice: Voice, ears: Ears, end: threading.Event) -> None:
        super().__init__(name="hear")
        self._node, self._core, self._voice, self._ears, self._end = node, core, voice, ears, end
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until the end, or until something fails, which ends the node."""
        executor = _executor_kind()(context=self._node.context)
        executor.add_node(self._node)
        try:
            self._spin(executor)
        except BaseException as failure:
            self.failure = failure
            self._end.set()
        finally:
            executor.shutdown()

    def _spin(self, executor: Any) -> None:
        core, voice, ears = self._core, self._voice, self._ears
        tick_s = blind_s = diagnose_s = 0.0
        since_ns = None
        while not self._end.is_set():
            executor.spin_once(timeout_sec=TICK_S)
            now_s = time.monotonic()
            if now_s < tick_s:
                continue
            tick_s = now_s + TICK_S
            if ears.now_ns() > 0:
                core.advance(ears.now_ns())
            voice.tell(core)
            if now_s >= blind_s and (report := core.blind()) is not None:
                blind_s = now_s + BLIND_S
                voice.say(report)
            state = core.state()
            if now_s >= diagnose_s or state.since_ns != since_ns:
                diagnose_s, since_ns = now_s + DIAGNOSE_S, state.since_ns
                voice.diagnose(core)


def _executor_kind() -> Any:
    """The executor that is told of messages, where rclpy has it; the other looks for them, which takes three times as
    much of a processor."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:  # before 2025
        from rclpy.executors import SingleThreadedExecutor as EventsExecutor
    return EventsExecutor


def _use_sim_time(node: Any) -> None:
    from rclpy.parameter import Parameter

    node.set_parameters([Parameter("use_sim_time", Parameter.Type.BOOL, True)])


def _quality(reliability: str, depth: int, latched: bool = False) -> Any:
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    if latched:  # what was sent before we came is heard too
        return QoSProfile(
            depth=depth, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
    kinds = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}
    return QoSProfile(depth=depth, reliability=kinds[reliability], durability=DurabilityPolicy.VOLATILE)


@contextmanager
def asked_to_end() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    end = threading.Event()
    before = {number: signal.signal(number, lambda *_: end.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
