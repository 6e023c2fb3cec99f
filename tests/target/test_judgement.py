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

    async def ask(self) -> bool:
        return True

    def look(self) -> str | None:
        self.looks += 1
        return self.identity

    def connection_lost(self) -> None: ...

    def close(self) -> None: ...

    def becomes(self, identity: str | None) -> None:
        self.identity = identity


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


async def never_overdue() -> None:
    raise AssertionError("nothing took too long")


async def ready() -> bool:
    return True


async def test_waits_eagerly_then_patiently(fake_time: FakeTime) -> None:
    detector = FakeDetector(None)
    fake_time.at(11.0, lambda: detector.becomes("b"))
    assert await wait_for_target(detector, ready, never_overdue, 60.0, fake_time.clock) == "b"
    assert set(fake_time.pauses) == {0.002, 0.05}
    assert sum(1 for pause in fake_time.pauses if pause == 0.002) == pytest.approx(5000, abs=1)
    assert 11.0 <= fake_time.now_s < 11.06


async def test_one_that_is_not_ready_is_asked_again_with_longer_pauses_and_reported_once(fake_time: FakeTime) -> None:
    detector = ConnectionDetector()
    overdue: list[float] = []

    async def is_ready() -> bool:
        return fake_time.now_s >= 20.0

    async def on_overdue() -> None:
        overdue.append(fake_time.now_s)

    assert await wait_for_target(detector, is_ready, on_overdue, 5.0, fake_time.clock) == detector.look()
    assert overdue == [pytest.approx(5.0, abs=0.25)]
    assert fake_time.pauses == sorted(fake_time.pauses)
    assert (fake_time.pauses[0], fake_time.pauses[-1]) == (0.002, 0.25)


async def test_one_that_dies_before_it_is_ready_is_not_taken_for_its_successor(fake_time: FakeTime) -> None:
    detector = FakeDetector("a")
    fake_time.at(0.01, lambda: detector.becomes(None))
    fake_time.at(1.0, lambda: detector.becomes("b"))

    async def is_ready() -> bool:
        return detector.identity == "b"

    assert await wait_for_target(detector, is_ready, never_overdue, 5.0, fake_time.clock) == "b"
