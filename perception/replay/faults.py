"""What goes wrong on the way, put into a stream on purpose; the same seed gives the same faults.

    KIND:TARGET[:NUMBERS...]         TARGET: all, a topic, or a part of topics' names such as CAM_FRONT

    drop:all:0.1                     each message is lost with this probability
    delay:LIDAR_TOP:0.05             messages arrive so many seconds later
    jitter:all:0.03                  each arrives up to so many seconds later: some overtake others
    offset:CAM_BACK:-0.2             the sensor's clock is off by so many seconds: its messages' stamps are
    jump:all:3.0:-10                 from the first time on [s after the begin] clocks are off by the second number
    thin:LIDAR_TOP:2                 of so many messages one comes: a sensor at half its rate
    reorder:CAM_FRONT:0.2            with this probability a message changes places with the topic's next
    duplicate:all:0.1                and with this one it comes twice
    kill:CAM_FRONT:2.0:5.0           nothing comes from the first to the second time [s after the begin]
    garble:all:0.1                   a few bytes are others, more likely at the message's begin
    truncate:LIDAR_TOP:0.1           the data of images and clouds breaks off
    nan:LIDAR_TOP:0.1                a tenth of a cloud's points are NaN, or a transform's or odometry's position is
    resize:CAM_FRONT:0.1             an image comes in half its size

"all" spares /clock and /tf_static, which nothing works without; a fault that names them may hit them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from calibration.errors import InputError
from calibration.spelling import did_you_mean
from perception.replay.damage import DAMAGES, has_stamps, with_later_stamps
from perception.replay.stream import Stream
from perception.ros.bags import TimedMessage, Topic

SPARED = ("/clock", "/tf_static")
GARBLED_HEAD = 160  # bytes that say how to read the rest, mostly
GARBLED_BYTES = 3  # at most
TWICE_LATER_NS = 1_000_000  # a duplicate comes this long after the first
Messages = Iterable[TimedMessage]


@dataclass(frozen=True)
class Fault:
    """One fault, as its text says."""

    kind: str  # a key of KINDS or of DAMAGES
    target: str
    numbers: tuple[float, ...]

    @staticmethod
    def parse(text: str) -> Fault:
        """Of a text like "kill:CAM_FRONT:2.0:5.0"; InputError for unknown kinds and numbers that make no sense."""
        kind, _, rest = text.partition(":")
        target, *numbers = rest.split(":")
        known = (*KINDS, *DAMAGES)
        if kind not in known:
            raise InputError(f"fault {text!r}", "a kind that is known", repr(kind), did_you_mean(kind, known))
        names, check, expected = FORMS[kind]
        try:
            values = tuple(map(float, numbers))
        except ValueError:
            values = ()
        if not target or len(values) != len(names) or not np.isfinite(values).all() or not check(*values):
            form = ":".join((kind, "TARGET", *names))
            raise InputError(f"fault {text!r}", f"{form} with {expected}", repr(rest))
        return Fault(kind, target, values)

    def topics(self, present: Mapping[str, Topic]) -> frozenset[str]:
        """The topics that it hits; InputError if there are none."""
        possible = {name: topic for name, topic in present.items() if self._can_hit(topic)}
        if self.target == "all":
            hit = frozenset(name for name in possible if name not in SPARED)
        else:
            hit = frozenset(name for name in possible if self.target == name or self.target in name.split("/"))
        if not hit:
            parts = sorted({part for name in possible for part in name.split("/")[1:2]})
            expected = "a target that this kind of fault can hit"
            raise InputError(f"fault {self.kind}:{self.target}", expected, "none", did_you_mean(self.target, parts))
        return hit

    def _can_hit(self, topic: Topic) -> bool:
        if self.kind in DAMAGES:
            return topic.kind in DAMAGES[self.kind]
        return self.kind not in ("offset", "jump") or has_stamps(topic.kind)


@dataclass(frozen=True)
class Faulty:
    """A stream with faults, one after the other."""

    stream: Stream
    faults: Sequence[Fault]
    seed: int = 0

    def __post_init__(self) -> None:
        for fault in self.faults:
            fault.topics(self.topics)

    @property
    def topics(self) -> Mapping[str, Topic]:
        return self.stream.topics

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[TimedMessage]:
        messages = iter(self.stream)
        # Garbled ones can't be read any more, which others must.
        for number, fault in sorted(enumerate(self.faults), key=lambda pair: pair[1].kind == "garble"):
            rng = np.random.default_rng((self.seed, number))
            transform = KINDS.get(fault.kind, _damage)
            messages = transform(messages, fault, fault.topics(self.topics), rng)
        return messages


def _drop(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    return (message for message in messages if message.topic not in hit or rng.random() >= fault.numbers[0])


def _kill(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    begin_ns, (from_s, until_s) = None, fault.numbers
    for message in messages:
        begin_ns = message.received_ns if begin_ns is None else begin_ns
        since_s = (message.received_ns - begin_ns) / 1e9
        if message.topic not in hit or not from_s <= since_s < until_s:
            yield message


def _delay(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    later_ns = round(fault.numbers[0] * 1e9)
    return _in_order((_later(m, later_ns) if m.topic in hit else m, m.received_ns) for m in messages)


def _jitter(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    def shaken() -> Iterator[tuple[TimedMessage, int]]:
        for message in messages:
            later_ns = round(rng.random() * fault.numbers[0] * 1e9) if message.topic in hit else 0
            yield _later(message, later_ns), message.received_ns

    return _in_order(shaken())


def _offset(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    ahead_ns = round(fault.numbers[0] * 1e9)
    return (_stamped_later(message, ahead_ns) if message.topic in hit else message for message in messages)


def _jump(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    begin_ns, (from_s, by_s) = None, fault.numbers
    for message in messages:
        begin_ns = message.received_ns if begin_ns is None else begin_ns
        jumped = message.topic in hit and (message.received_ns - begin_ns) / 1e9 >= from_s
        yield _stamped_later(message, round(by_s * 1e9)) if jumped else message


def _thin(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    came: Counter[str] = Counter()
    for message in messages:
        if message.topic not in hit or came[message.topic] % fault.numbers[0] == 0:
            yield message
        came[message.topic] += 1


def _duplicate(
    messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator
) -> Iterator[TimedMessage]:
    def doubled() -> Iterator[tuple[TimedMessage, int]]:
        for message in messages:
            yield message, message.received_ns
            if message.topic in hit and rng.random() < fault.numbers[0]:
                yield _later(message, TWICE_LATER_NS), message.received_ns

    return _in_order(doubled())


def _reorder(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    """What changes places with the topic's next arrives just after it; at the stream's end, with the last one."""
    waiting: dict[str, TimedMessage] = {}
    now_ns = 0
    for message in messages:
        now_ns = message.received_ns
        overtaken = waiting.pop(message.topic, None)
        if overtaken is None and message.topic in hit and rng.random() < fault.numbers[0]:
            waiting[message.topic] = message
            continue
        yield message
        if overtaken is not None:
            yield replace(overtaken, received_ns=now_ns)
    yield from (replace(message, received_ns=now_ns) for message in waiting.values())


def _damage(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    for message in messages:
        if message.topic in hit and rng.random() < fault.numbers[0]:
            message = replace(message, data=DAMAGES[fault.kind][message.kind](message.data, rng))
        yield message


def _garble(messages: Messages, fault: Fault, hit: frozenset[str], rng: np.random.Generator) -> Iterator[TimedMessage]:
    for message in messages:
        if message.topic in hit and rng.random() < fault.numbers[0]:
            data = np.frombuffer(message.data, np.uint8).copy()
            size = rng.choice([min(GARBLED_HEAD, data.size), data.size])
            for place in rng.integers(size, size=rng.integers(1, GARBLED_BYTES + 1)) if size else ():
                data[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
            message = replace(message, data=data.tobytes())
        yield message


def _later(message: TimedMessage, later_ns: int) -> TimedMessage:
    return replace(message, received_ns=message.received_ns + later_ns)


def _stamped_later(message: TimedMessage, later_ns: int) -> TimedMessage:
    return replace(message, data=with_later_stamps(message.data, message.kind, later_ns, message.topic))


def _in_order(messages: Iterable[tuple[TimedMessage, int]]) -> Iterator[TimedMessage]:
    """Messages that were delayed, each with the time before which none that follows can be, by their new times."""
    heap: list[tuple[int, int, TimedMessage]] = []
    numbers = count()
    for message, now_ns in messages:
        heapq.heappush(heap, (message.received_ns, next(numbers), message))
        while heap and heap[0][0] <= now_ns:
            yield heapq.heappop(heap)[2]
    while heap:
        yield heapq.heappop(heap)[2]


Transformation = Callable[[Messages, Fault, frozenset[str], np.random.Generator], Iterator[TimedMessage]]
KINDS: dict[str, Transformation] = {
    "drop": _drop,
    "delay": _delay,
    "jitter": _jitter,
    "offset": _offset,
    "jump": _jump,
    "thin": _thin,
    "reorder": _reorder,
    "duplicate": _duplicate,
    "garble": _garble,
    "kill": _kill,
}

Form = tuple[tuple[str, ...], Callable[..., bool], str]  # names of the numbers, what they must keep, in words
_PROBABILITY: Form = (("PROBABILITY",), lambda p: 0 <= p <= 1, "a probability from 0 to 1")
_DELAY: Form = (("SECONDS",), lambda s: s >= 0, "seconds >= 0")
FORMS: dict[str, Form] = dict.fromkeys((*KINDS, *DAMAGES), _PROBABILITY)
FORMS |= {"delay": _DELAY, "jitter": _DELAY, "offset": (("SECONDS",), lambda s: True, "seconds")}
FORMS["jump"] = (("FROM", "SECONDS"), lambda begin, s: begin >= 0, "seconds, FROM >= 0")
FORMS["thin"] = (("COUNT",), lambda n: n >= 1 and n == int(n), "a whole number >= 1")
FORMS["kill"] = (("FROM", "UNTIL"), lambda begin, end: 0 <= begin < end, "seconds, 0 <= FROM < UNTIL")
