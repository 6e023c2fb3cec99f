"""Verdicts and waiting, in a time that passes without waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.target.detection import ConnectionDetector
from interceptor.target.judgement import Verdict, judge_loss, wait_for_target

if TYPE_CHECKING:
    from conftest import FakeTime


class FakeDetector:
    awaits_connection = False

    def __init__(self, identity: str | None) -> None:
        self.identity = identity
        self.looks = 0

    def look(self) -> str | None:
        self.looks += 1
        return self.identity

    def connection_lost(self) -> None: ...

    def close(self) -> None: ...

    def becomes(self, identity: str | None) -> None:
        self.identity = identity


async def never_asked() -> bool:
    raise AssertionError("a target that can be looked at is not probed")


async def test_same_only_after_the_whole_settle_time(fake_time: FakeTime) -> None:
    detector = FakeDetector("a")
    assert await judge_loss(detector, "a", clock=fake_time.clock) is Verdict.SAME
    assert fake_time.now_s >= 0.05
    assert detector.looks == pytest.approx(51, abs=1)


@pytest.mark.parametrize("successor", [None, "b"])
async def test_dead_as_soon_as_it_shows(fake_time: FakeTime, successor: str | None) -> None:
    detector = FakeDetector("a")
    fake_time.at(0.0295, lambda: detector.becomes(successor))
    assert await judge_loss(detector, "a", clock=fake_time.clock) is Verdict.DEAD
    assert fake_time.now_s == pytest.approx(0.030)


async def test_dead_at_once_costs_no_time(fake_time: FakeTime) -> None:
    assert await judge_loss(FakeDetector(None), "a", clock=fake_time.clock) is Verdict.DEAD
    assert fake_time.pauses == []


async def test_what_happens_in_the_last_moment_counts(fake_time: FakeTime) -> None:
    detector = FakeDetector("a")
    fake_time.at(0.05, lambda: detector.becomes(None))
    assert await judge_loss(detector, "a", clock=fake_time.clock) is Verdict.DEAD


async def test_an_expensive_look_is_taken_less_often(fake_time: FakeTime) -> None:
    class Expensive(FakeDetector):
        def look(self) -> str | None:
            fake_time.now_s += 0.004
            return super().look()

    assert await judge_loss(Expensive("a"), "a", clock=fake_time.clock) is Verdict.SAME
    assert fake_time.pauses == [pytest.approx(0.016)] * 3


async def test_waits_eagerly_then_patiently(fake_time: FakeTime) -> None:
    detector = FakeDetector(None)
    fake_time.at(11.0, lambda: detector.becomes("b"))
    assert await wait_for_target(detector, never_asked, clock=fake_time.clock) == "b"
    assert set(fake_time.pauses) == {0.002, 0.05}
    assert sum(1 for pause in fake_time.pauses if pause == 0.002) == pytest.approx(5000, abs=1)
    assert 11.0 <= fake_time.now_s < 11.06


async def test_remote_is_waited_for_by_connecting(fake_time: FakeTime) -> None:
    detector = ConnectionDetector()
    attempts = 0

    async def probe() -> bool:
        nonlocal attempts
        attempts += 1
        return attempts == 9

    assert await wait_for_target(detector, probe, clock=fake_time.clock) == detector.look()
    assert fake_time.pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5]
