"""The commit delay: one sync covers what comes within it, and nothing waits twice."""

from __future__ import annotations

import asyncio

from interceptor.journal import Durability
from interceptor.short_timer import ShortTimer
from tests.interceptor.conftest import MakePlane
from tests.interceptor.fakes import event, turn, until

NEVER_US = 3_600_000_000


async def test_a_sync_starts_after_the_delay_and_covers_what_came_within_it(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=100)
    for version in range(1, 6):
        plane.journal.append([event(version)])
    assert plane.backend.calls == []
    await until(lambda: plane.backend.calls == ["sync"])
    plane.backend.complete()
    assert plane.journal.release_version == 5
    assert plane.counters.commit_delays > 0
    await plane.journal.close()


async def test_behind_a_sync_that_took_longer_nothing_waits(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=1)
    plane.journal.append([event(1)])
    await until(lambda: plane.backend.calls == ["sync"])
    plane.journal.append([event(2)])
    await turn()
    plane.backend.complete()
    assert plane.backend.calls == ["sync", "sync"]
    plane.backend.complete()
    await plane.journal.close()


async def test_behind_a_sync_that_was_shorter_the_next_one_waits(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=NEVER_US)
    plane.journal.append([event(1)])
    plane.journal._start_sync()
    plane.journal.append([event(2)])
    plane.backend.complete()
    assert plane.backend.calls == ["sync"]
    plane.journal._start_sync()
    plane.backend.complete()
    await plane.journal.close()


async def test_who_asks_for_durability_does_not_wait_for_the_delay(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=NEVER_US)
    plane.journal.append([event(1)])
    durable = asyncio.ensure_future(plane.journal.make_durable())
    await turn()
    assert plane.backend.calls == ["sync"]
    plane.backend.complete()
    await durable
    await plane.journal.close()


async def test_relaxed_durability_knows_no_commit_delay(make_plane: MakePlane) -> None:
    plane = make_plane(Durability.RELAXED, commit_delay_us=NEVER_US)
    assert plane.journal._commit_timer is None


async def test_a_timer_is_due_once_for_each_start_unless_it_is_stopped() -> None:
    loop = asyncio.get_running_loop()
    due: list[float] = []
    timer = ShortTimer(loop, 200, lambda: due.append(loop.time()))
    began_s = loop.time()
    timer.start()
    timer.start()
    await until(lambda: bool(due))
    assert due[0] - began_s >= 0.0002
    assert not timer.running
    timer.start()
    timer.stop()
    timer.start()
    await until(lambda: len(due) == 2)
    timer.close()
    timer.close()
