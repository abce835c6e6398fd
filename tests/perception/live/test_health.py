"""Nominal, degraded or blind follows from what came when, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from perception.live.health import Health, Level

MS = 1_000_000
SENSORS = ("TOP", "LEFT", "RIGHT", "poses")
POLICIES = {"TOP": "degrade", "LEFT": "degrade", "RIGHT": "ignore", "poses": "blind"}


def health(**policies: str) -> Health:
    return Health(dict.fromkeys(SENSORS, 500 * MS), POLICIES | policies, SENSORS[:3], 300 * MS)


def run(watched: Health, from_ms: int, until_ms: int, without: Iterable[str] = (), every_ms: int = 100) -> list[str]:
    """What the state is after each round of measurements, repetitions left out."""
    seen: list[str] = []
    for now_ms in range(from_ms, until_ms, every_ms):
        for name in set(SENSORS) - set(without):
            watched.usable(name, now_ms * MS)
        state = watched.state(now_ms * MS).summary
        seen += [state] if seen[-1:] != [state] else []
    return seen


def test_at_first_it_is_blind_and_says_that_nothing_came() -> None:
    state = health().state(0)
    assert (state.level, set(state.lost)) == (Level.BLIND, {"TOP", "LEFT", "poses"})
    assert set(state.lost.values()) == {"nothing came yet"}


def test_sensors_must_show_for_a_while_that_they_are_there() -> None:
    assert run(health(), 0, 1000) == ["blind: TOP, LEFT, poses", "nominal"]
    watched = health()
    run(watched, 0, 300)  # the last round is at 200 ms
    assert watched.state(299 * MS).level is Level.BLIND
    run(watched, 300, 301)
    assert watched.state(301 * MS).level is Level.NOMINAL


def test_one_message_after_a_long_silence_changes_nothing() -> None:
    watched = health()
    run(watched, 0, 1000)
    for now_ms in range(1000, 5000, 100):
        if now_ms % 1000 == 0:
            watched.usable("LEFT", now_ms * MS)
        run(watched, now_ms, now_ms + 1, without=["LEFT"])
        assert now_ms < 1600 or watched.state(now_ms * MS).summary == "degraded: LEFT"


def test_what_is_lost_degrades_it_and_what_returns_restores_it() -> None:
    watched = health()
    run(watched, 0, 1000)
    assert run(watched, 1000, 3000, without=["LEFT"]) == ["nominal", "degraded: LEFT"]
    assert watched.state(3000 * MS).since_ns == 1500 * MS  # the last was at 900, and 500 more are granted
    assert run(watched, 3000, 4000) == ["degraded: LEFT", "nominal"]
    assert watched.state(4000 * MS).since_ns == 3300 * MS


def test_the_reason_is_the_latest_that_is_known() -> None:
    watched = health()
    run(watched, 0, 1000)
    run(watched, 1000, 2000, without=["LEFT"])
    assert watched.state(2000 * MS).lost == {"LEFT": "nothing for 1.1 s"}
    watched.blame("LEFT", "its clock jumped", 2000 * MS)
    assert str(watched.state(2001 * MS)) == "degraded: LEFT (its clock jumped)"


def test_policies_say_what_a_loss_means() -> None:
    watched = health()
    run(watched, 0, 1000)
    assert run(watched, 1000, 3000, without=["RIGHT"]) == ["nominal"]
    assert watched.forgiven("RIGHT")
    assert not watched.forgiven("LEFT")
    assert run(watched, 3000, 5000, without=["poses"]) == ["nominal", "blind: poses"]
    strict = health(LEFT="blind")
    run(strict, 0, 1000)
    assert run(strict, 1000, 3000, without=["LEFT"]) == ["nominal", "blind: LEFT"]


def test_without_any_eye_it_is_blind_even_if_each_may_be_missing() -> None:
    watched = health()
    run(watched, 0, 1000)
    assert run(watched, 1000, 3000, without=["TOP", "LEFT"]) == ["nominal", "degraded: TOP, LEFT"]  # RIGHT still sees
    assert run(watched, 3000, 5000, without=SENSORS[:3])[-1] == "blind: TOP, LEFT"
    ignored = health(TOP="ignore", LEFT="ignore")
    run(ignored, 0, 1000)
    assert run(ignored, 1000, 3000, without=SENSORS[:3])[-1] == "blind: TOP, LEFT, RIGHT"


def test_a_receivers_clock_that_goes_back_loses_nothing() -> None:
    watched = health()
    run(watched, 100_000, 101_000)
    assert run(watched, 90_000, 92_000) == ["nominal"]


@given(
    st.lists(st.tuples(st.integers(1, 400), st.sets(st.sampled_from(SENSORS))), max_size=60),
    st.sampled_from(["degrade", "blind", "ignore"]),
)
def test_it_never_sees_what_it_must_not_and_never_flaps(rounds: list[tuple[int, set[str]]], policy: str) -> None:
    watched, now_ns, last = health(LEFT=policy), 0, dict.fromkeys(SENSORS)
    changes: dict[str, int] = {}
    lost = dict.fromkeys(SENSORS, True)
    for step_ms, present in rounds:
        now_ns += step_ms * MS
        for name in present:
            watched.usable(name, now_ns)
            last[name] = now_ns
        state = watched.state(now_ns)
        for name in SENSORS:
            silent = last[name] is None or now_ns - last[name] > 500 * MS
            assert watched.is_lost(name) or not silent
            if watched.is_lost(name) != lost[name]:
                assert name not in changes or watched.is_lost(name) or now_ns - changes[name] >= 300 * MS
                changes[name], lost[name] = now_ns, watched.is_lost(name)
        assert "RIGHT" not in state.lost or all(lost[name] for name in SENSORS[:3])
        assert state.level is not Level.NOMINAL or not state.lost
        assert state.level is Level.BLIND or not (lost["poses"] or (policy == "blind" and lost["LEFT"]))
