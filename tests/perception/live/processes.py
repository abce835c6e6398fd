"""The node, a player and the peer as processes of their own, joined by nothing but the middleware."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.perception.live.peer import LOCAL_ONLY

CHECKOUT = Path(__file__).resolve().parents[3]
NEEDED = ("rclpy", "cyclonedds", "rosbags")
needs_middleware = pytest.mark.skipif(
    not all(map(find_spec, NEEDED)), reason=f"needs {', '.join(NEEDED[:-1])} and {NEEDED[-1]}"
)
PATIENCE_S = 60.0  # for what takes a second on an idle machine
POLITE_S = 10.0
_rooms = count(os.getpid())


def new_domain() -> int:
    """A ROS domain that hardly anybody else is in."""
    return 1 + next(_rooms) % 100


def environment(domain: int) -> dict[str, str]:
    """Of processes that see each other, and nobody else, on this machine."""
    alone = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(domain), "CYCLONEDDS_URI": LOCAL_ONLY}
    room = {"FASTRTPS_DEFAULT_PROFILES_FILE": str(CHECKOUT / "configs" / "rigs" / "fastdds.xml")}
    return os.environ | alone | room | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}


class Process:
    """A program that runs, and the lines that it printed so far."""

    def __init__(self, *arguments: object, domain: int) -> None:
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=CHECKOUT, env=environment(domain),
        )  # fmt: skip
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._readers = [
            threading.Thread(target=lambda: self.stdout.extend(self.popen.stdout), daemon=True),
            threading.Thread(target=lambda: self.stderr.extend(self.popen.stderr), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def until(self, happened: Callable[[], Any]) -> Any:
        """Wait until something is so -> what `happened` gave; fails where the program ends before, or it takes long."""
        since = time.monotonic()
        while not (found := happened()):
            ended = self.popen.poll()
            assert ended is None, f"it ended with {ended}: {''.join(self.stderr)}"
            assert time.monotonic() - since < PATIENCE_S, f"nothing happened: {''.join(self.stderr)}"
            time.sleep(0.02)
        return found

    def said(self, text: str) -> bool:
        return any(text in line for line in self.stderr)

    def end(self, by: signal.Signals = signal.SIGINT) -> int:
        """Send a signal -> the exit code."""
        self.popen.send_signal(by)
        return self.wait()

    def be_gone(self) -> None:
        """End it if it still runs, politely first: what is killed leaves its shared memory behind."""
        for by in (signal.SIGINT, signal.SIGKILL):
            if self.popen.poll() is None:
                self.popen.send_signal(by)
                with suppress(subprocess.TimeoutExpired):
                    self.popen.wait(POLITE_S)

    def wait(self) -> int:
        """The exit code, when all that was printed is read."""
        code = self.popen.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return code


@contextmanager
def running(*arguments: object, domain: int) -> Iterator[Process]:
    """A program that is gone at the end of the block."""
    process = Process(*arguments, domain=domain)
    try:
        yield process
    finally:
        process.be_gone()


class Heard:
    """What the peer, which knows neither ROS nor our code, heard of the node."""

    DETECTIONS, MARKERS, DIAGNOSTICS = "/bevfuse/detections", "/bevfuse/markers", "/diagnostics"

    def __init__(self, process: Process) -> None:
        self._process = process

    def of(self, topic: str) -> list[dict]:
        """The messages on a topic so far."""
        lines = map(json.loads, list(self._process.stdout))
        return [line["message"] for line in lines if line.get("topic") == topic]

    def until(self, topic: str, count: int) -> None:
        """Wait for so many messages: what was sent is acknowledged before the peer has looked at it."""
        self._process.until(lambda: len(self.of(topic)) >= count)

    @property
    def detections(self) -> list[dict]:
        return [json.loads(message["data"]) for message in self.of(self.DETECTIONS)]

    @property
    def markers(self) -> list[list[dict]]:
        return [message["markers"] for message in self.of(self.MARKERS)]

    @property
    def statuses(self) -> list[dict[str, dict]]:
        """By name, of each message; values as a dict."""
        return [
            {s["name"]: s | {"values": {v["key"]: v["value"] for v in s["values"]}} for s in message["status"]}
            for message in self.of(self.DIAGNOSTICS)
        ]


NODE_TOPICS = {Heard.DETECTIONS: "String", Heard.MARKERS: "MarkerArray", Heard.DIAGNOSTICS: "DiagnosticArray"}


@contextmanager
def listening(domain: int, topics: Mapping[str, str] = NODE_TOPICS) -> Iterator[Heard]:
    """The peer, which hears everything that is sent on these topics (name -> kind) in the block."""
    subscriptions = [f"{kind}:{topic}" for topic, kind in topics.items()]
    with running(Path(__file__).with_name("peer.py"), *subscriptions, domain=domain) as process:
        process.until(lambda: process.stdout)
        yield Heard(process)
