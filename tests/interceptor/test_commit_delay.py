"""Group commit: the clients that a sync has answered are waited for, and nobody waits in vain for long."""

from __future__ import annotations

import asyncio

import pytest

from interceptor.journal import Durability
from interceptor.short_timer import ShortTimer
from tests.interceptor.conftest import DataPlane, MakePlane
from tests.interceptor.fakes import event, turn, until

NEVER_US = 3_600_000_000
AT_ONCE_US = 1


def append(plane: DataPlane, first: int, last: int) -> None:
    plane.journal.append([event(version) for version in range(first, last + 1)])


async def test_without_others_to_wait_for_a_sync_starts_at_once(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=NEVER_US)
    for version in range(1, 6):
        append(plane, version, version)
        assert plane.backend.calls == ["sync"] * version
        plane.backend.complete()
    assert plane.counters.commit_delays == 0
    await plane.journal.close()


async def test_the_next_sync_waits_until_as_many_came_as_were_answered(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=NEVER_US)
    append(plane, 1, 3)
    append(plane, 4, 5)
    plane.backend.complete()
    assert plane.journal.release_version == 3
    assert plane.backend.calls == ["sync"]
    append(plane, 6, 7)
    assert plane.backend.calls == ["sync"]
    append(plane, 8, 8)
    assert plane.backend.calls == ["sync", "sync"]
    plane.backend.complete()
    assert plane.journal.release_version == 8
    assert plane.counters.commit_delays == 1
    await plane.journal.close()


async def test_those_who_wait_are_not_kept_longer_than_the_delay(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=1_000)
    append(plane, 1, 3)
    append(plane, 4, 4)
    plane.backend.complete()
    assert plane.backend.calls == ["sync"]
    await until(lambda: plane.backend.calls == ["sync", "sync"])
    plane.backend.complete()
    assert plane.journal.release_version == 4
    await plane.journal.close()


async def test_after_the_delay_nobody_is_waited_for(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=AT_ONCE_US)
    append(plane, 1, 3)
    plane.backend.complete()
    await asyncio.to_thread(lambda: None)
    append(plane, 4, 4)
    assert plane.backend.calls == ["sync", "sync"]
    assert plane.counters.commit_delays == 0
    plane.backend.complete()
    await plane.journal.close()


async def test_clients_that_do_not_come_back_are_waited_for_more_and_more_rarely(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=100)
    version = syncs = 0
    for _ in range(100):
        for events in (4, 1):
            append(plane, version + 1, version + events)
            version, syncs = version + events, syncs + 1
            await until(lambda syncs=syncs: len(plane.backend.calls) == syncs)
            plane.backend.complete()
    # With pauses of 2, 4, 8 … 64 syncs in between.
    assert 1 <= plane.counters.commit_delays <= 7
    await plane.journal.close()


async def test_who_asks_for_durability_does_not_wait_for_the_delay(make_plane: MakePlane) -> None:
    plane = make_plane(commit_delay_us=NEVER_US)
    append(plane, 1, 3)
    append(plane, 4, 4)
    plane.backend.complete()
    durable = asyncio.ensure_future(plane.journal.make_durable())
    await turn()
    assert plane.backend.calls == ["sync", "sync"]
    plane.backend.complete()
    await durable
    await plane.journal.close()


async def test_relaxed_durability_knows_no_commit_delay(make_plane: MakePlane) -> None:
    plane = make_plane(Durability.RELAXED, commit_delay_us=NEVER_US)
    assert plane.journal._commit_timer is None


async def test_where_there_is_no_timer_every_sync_starts_at_once(
    make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> ShortTimer:
        raise OSError(1, "timerfd_create failed")

    monkeypatch.setattr("interceptor.journal.ShortTimer", refused)
    plane = make_plane(commit_delay_us=NEVER_US)
    append(plane, 1, 3)
    append(plane, 4, 4)
    plane.backend.complete()
    assert plane.backend.calls == ["sync", "sync"]
    plane.backend.complete()
    await plane.journal.close()


async def test_a_timer_is_due_once_for_each_start_unless_it_is_stopped() -> None:
    loop = asyncio.get_running_loop()
    due: list[float] = []
    timer = ShortTimer(loop, lambda: due.append(loop.time()))
    began_s = loop.time()
    timer.start(200)
    timer.start(200)
    await until(lambda: bool(due))
    assert due[0] - began_s >= 0.0002
    assert not timer.running
    timer.start(200)
    timer.stop()
    timer.start(200)
    await until(lambda: len(due) == 2)
    timer.close()
    timer.close()
