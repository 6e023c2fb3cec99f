"""The journal in relaxed durability: answers go at once, and no further ahead of the log than the window."""

from __future__ import annotations

import asyncio

import pytest

from interceptor.journal import RELEASE_AT_ONCE, Durability
from storage_backends.errors import LogFailedError
from tests.interceptor.conftest import MakePlane
from tests.interceptor.fake_log import FAILED
from tests.interceptor.fakes import ManualClock, event


async def test_relaxed_syncs_a_tenth_of_the_window_after_the_first_record_that_needs_it(
    make_plane: MakePlane, clock: ManualClock
) -> None:
    """Rule 2: the window is a stated bound (relaxed_window_ms)."""
    plane = make_plane(Durability.RELAXED, relaxed_window_ms=1_000)
    loop = asyncio.get_running_loop()
    scheduled: list[tuple[float, object]] = []
    plane.journal._loop = _Recording(loop, scheduled)  # type: ignore[assignment]
    plane.journal.append([event(1)])
    plane.journal.append([event(2)])
    assert [delay_s for delay_s, _ in scheduled] == [0.1]
    assert plane.backend.calls == []
    assert plane.journal.release_version == RELEASE_AT_ONCE
    plane.journal._sync_due()
    plane.journal.append([event(3)])
    assert plane.backend.calls == ["sync"]
    plane.backend.complete()
    assert plane.journal.durable_version == 2
    assert _delays(scheduled, plane.journal._sync_due) == [0.1, pytest.approx(0.1)], (
        "what came meanwhile has a time of its own"
    )
    plane.journal._sync_due()
    plane.backend.complete()
    assert plane.journal.durable_version == 3
    assert len(_delays(scheduled, plane.journal._sync_due)) == 2


async def test_relaxed_answers_wait_while_an_event_is_older_than_the_window_and_not_durable(
    make_plane: MakePlane, clock: ManualClock
) -> None:
    """Rule 2: a disk or a database that hangs must not make the stated window as large as the ring."""
    plane = make_plane(Durability.RELAXED, relaxed_window_ms=1_000)
    journal = plane.journal
    scheduled: list[tuple[float, object]] = []
    told: list[int] = []
    journal._loop = _Recording(asyncio.get_running_loop(), scheduled)  # type: ignore[assignment]
    journal.on_durable = lambda: told.append(journal.release_version)
    journal.append([event(1)])
    clock.now_s += 0.1
    journal._sync_due()
    assert _delays(scheduled, journal._bound_age) == [pytest.approx(0.9)]
    clock.now_s += 0.89
    journal._bound_age()
    assert journal.release_version == RELEASE_AT_ONCE, "within the window nothing waits"
    clock.now_s += 0.02
    journal._bound_age()
    journal._bound_age()
    journal.append([event(2)])
    assert journal.release_version == 0
    plane.backend.complete()
    assert told == [0, RELEASE_AT_ONCE]
    clock.now_s += 0.1
    journal._sync_due()
    plane.backend.complete()
    assert told == [0, RELEASE_AT_ONCE], "a flush in time is told to nobody: nobody waits for it"
    assert plane.counters.limits_reached["relaxed_window_ms"] == 1, "once, not at each look"


async def test_relaxed_answers_do_not_wait_for_a_long_sync_that_commits_part_by_part(
    make_plane: MakePlane, clock: ManualClock
) -> None:
    """Rule 2 bounds how old an event is, not how long a sync takes: a busy database commits all the time."""
    plane = make_plane(Durability.RELAXED, relaxed_window_ms=1_000)
    journal = plane.journal
    for version in range(1, 11):
        journal.append([event(version)])
        clock.now_s += 0.15
    journal._start_sync()
    assert journal.release_version == 0, "event 1 is 1.5 s old"
    plane.backend.durable_version = 5
    journal._bound_age()
    assert journal.release_version == RELEASE_AT_ONCE, "event 6 is 750 ms old"
    clock.now_s += 0.5
    journal._bound_age()
    assert journal.release_version == 5
    plane.backend.durable_version = 7
    journal._bound_age()
    assert journal.release_version == RELEASE_AT_ONCE, "event 8 is 950 ms old"
    plane.backend.complete()


async def test_relaxed_what_came_during_a_long_sync_is_synced_when_it_is_as_old_as_anything_else_would_be(
    make_plane: MakePlane, clock: ManualClock
) -> None:
    """Rule 2: the time runs from the event on, not from the end of the sync before."""
    plane = make_plane(Durability.RELAXED, relaxed_window_ms=1_000)
    journal = plane.journal
    scheduled: list[tuple[float, object]] = []
    journal._loop = _Recording(asyncio.get_running_loop(), scheduled)  # type: ignore[assignment]
    journal.append([event(1)])
    journal._sync_due()
    clock.now_s += 0.01
    journal.append([event(2)])
    clock.now_s += 0.03
    plane.backend.complete()
    assert _delays(scheduled, journal._sync_due) == [0.1, pytest.approx(0.07)]
    journal._sync_due()
    journal.append([event(3)])
    clock.now_s += 0.11
    plane.backend.complete()
    assert plane.backend.syncs_under_way == 1, "event 3 is more than 100 ms old"
    plane.backend.complete()


async def test_relaxed_answers_that_wait_never_leave_after_a_failure(make_plane: MakePlane, clock: ManualClock) -> None:
    """Rule 9: also where the log fails while a flush is under way that then succeeds."""
    plane = make_plane(Durability.RELAXED, relaxed_window_ms=1_000)
    journal = plane.journal
    journal.append([event(1)])
    clock.now_s += 1.1
    journal._start_sync()
    assert journal.release_version == 0
    plane.backend.fail_append = FAILED
    with pytest.raises(LogFailedError):
        journal.append([event(2)])
    plane.backend.complete()
    assert journal.release_version == 0


def _delays(scheduled: list[tuple[float, object]], callback: object) -> list[float]:
    return [delay_s for delay_s, scheduled_callback in scheduled if scheduled_callback == callback]


class _Recording:
    """A loop whose timers are only noted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, scheduled: list[tuple[float, object]]) -> None:
        self._loop = loop
        self._scheduled = scheduled

    def call_later(self, delay_s: float, callback: object) -> asyncio.TimerHandle:
        self._scheduled.append((delay_s, callback))
        return asyncio.TimerHandle(0.0, lambda: None, (), self._loop)
