"""Three processes and a real middleware: a player, the node, and a peer by Cyclone DDS that checks what comes out."""

from __future__ import annotations

import pytest

from perception.ros.bags import write_bag
from tests.perception.live.made import BEGIN_NS, TURN_NS, MadeDrive
from tests.perception.live.processes import PATIENCE_S, listening, needs_middleware, new_domain, running

pytestmark = needs_middleware


@pytest.fixture(scope="module")
def made() -> MadeDrive:
    return MadeDrive(2.0)


@pytest.fixture
def domain() -> int:
    return new_domain()


def stamp_ns_of(message: dict) -> int:
    stamp = message["header"]["stamp"]
    return stamp["sec"] * 10**9 + stamp["nanosec"]


def test_the_peer_hears_what_is_played(made: MadeDrive, domain: int, tmp_path) -> None:
    write_bag(tmp_path / "bag", made.topics, made)
    points, image = "/LIDAR_TOP/points", "/CAM_FRONT/image/compressed"
    with listening(domain, {points: "PointCloud2", image: "CompressedImage"}) as heard:
        play = ("tools/replay.py", "play", tmp_path / "bag", "--wait", PATIENCE_S, "--rate", 4)
        with running(*play, domain=domain) as player:
            assert player.wait() == 0
        stamps = [stamp_ns_of(message) for message in heard.of(points)]
        assert stamps == [BEGIN_NS + turn * TURN_NS for turn in range(made.turns)]
        assert {message["width"] for message in heard.of(points)} == {60}
        assert len(heard.of(image)) == 24
