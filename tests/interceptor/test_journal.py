"""The journal: one sync for everything that came meanwhile, outcomes written behind, failures that stay failures."""

from __future__ import annotations

import asyncio

import pytest

from interceptor.journal import OUTCOMES_BATCH_MAX, Durability
from storage_backends.errors import LogFailedError, LogUnavailableError
from storage_backends.records import Event, Mark, Outcome, Quarantine
from tests.interceptor.conftest import MakePlane
from tests.interceptor.fake_log import FAILED, UNAVAILABLE, FakeBackend, filled, records_of
from tests.interceptor.fakes import ManualClock, event, turn, until


async def test_one_sync_covers_what_came_before_it_started_and_the_next_all_that_came_meanwhile(
    make_plane: MakePlane,
) -> None:
    """Group commit: never two at a time (the fake asserts that), never one for each append."""
    plane = make_plane()
    for version in range(1, 6):
        plane.journal.append([event(version)])
    assert plane.backend.calls == ["sync"]
    plane.backend.complete()
    assert plane.journal.durable_version == plane.journal.release_version == 1
    assert plane.backend.calls == ["sync", "sync"]
    plane.backend.complete()
    assert plane.journal.release_version == 5
    assert plane.backend.syncs_under_way == 0
    assert sum(plane.counters.sync.counts) == 2


async def test_on_durable_is_told_after_each_sync(make_plane: MakePlane) -> None:
    plane = make_plane()
    told: list[int] = []
    plane.journal.on_durable = lambda: told.append(plane.journal.release_version)
    plane.journal.append([event(1)])
    plane.journal.append([event(2)])
    plane.backend.complete()
    plane.backend.complete()
    assert told == [1, 2]


async def test_a_long_strict_sync_does_not_overrule_group_commit(
    make_plane: MakePlane, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk, too, the clients that a sync has answered are waited for."""
    plane = make_plane()
    plane.journal.append([event(1)])
    plane.journal.append([event(2)])
    clock.now_s += 1.0
    plane.journal._sync_due()
    monkeypatch.setattr(plane.journal.group_commit, "may_start", lambda: False)
    plane.backend.complete()
    assert plane.backend.syncs_under_way == 0
    plane.journal._sync_due()
    plane.backend.complete()


async def test_outcomes_go_before_the_next_events_or_after_a_moment(make_plane: MakePlane) -> None:
    """Written behind, in the order in which the answers came."""
    plane = make_plane()
    plane.journal.append([event(1)])
    plane.journal.record_outcome(1, 200, 3, 9)
    assert records_of(plane.backend, Outcome) == []
    plane.journal.append([event(2)])
    assert plane.backend.batches[-1] == [Outcome(1, 200, 3, 9), event(2)]
    plane.journal.record_outcome(2, 404, 0, 0)
    await until(lambda: len(records_of(plane.backend, Outcome)) == 2)
    plane.backend.complete()
    plane.backend.complete()


async def test_many_outcomes_do_not_wait_for_the_timer(make_plane: MakePlane) -> None:
    """Rule 7: what waits is bounded."""
    plane = make_plane()
    plane.journal.append([event(version) for version in range(1, OUTCOMES_BATCH_MAX + 1)])
    for version in range(1, OUTCOMES_BATCH_MAX + 1):
        plane.journal.record_outcome(version, 200, 0, 0)
    assert len(records_of(plane.backend, Outcome)) == OUTCOMES_BATCH_MAX


async def test_a_log_without_room_keeps_nothing_and_is_tried_again(
    make_plane: MakePlane, caplog: pytest.LogCaptureFixture
) -> None:
    plane = make_plane()
    plane.journal.record_outcome(1, 200, 0, 0)
    plane.backend.fail_append = UNAVAILABLE
    for _ in range(2):
        with pytest.raises(LogUnavailableError):
            plane.journal.append([event(1)])
    assert plane.journal.unavailable is UNAVAILABLE
    assert plane.journal.failure is None
    plane.journal.flush_outcomes()
    plane.backend.fail_append = None
    plane.journal.append([event(1)])
    assert plane.journal.unavailable is None
    assert plane.backend.batches == [[Outcome(1, 200, 0, 0), event(1)]]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"], "once each, not at every attempt"


async def test_outcomes_that_find_room_do_not_mean_that_events_do(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.backend.fail_append = UNAVAILABLE
    with pytest.raises(LogUnavailableError):
        plane.journal.append([event(1)])
    plane.backend.fail_append = None
    plane.journal.record_outcome(1, 200, 0, 0)
    plane.journal.flush_outcomes()
    assert plane.journal.unavailable is UNAVAILABLE
    plane.journal.append([event(1)])
    assert plane.journal.unavailable is None


async def test_outcomes_without_room_are_tried_again_by_themselves(
    make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interceptor.journal.RETRY_S", 0.0)
    plane = make_plane()
    plane.backend.fail_append = UNAVAILABLE
    plane.journal.record_outcome(1, 200, 0, 0)
    plane.journal.flush_outcomes()
    plane.backend.fail_append = None
    await until(lambda: plane.backend.batches == [[Outcome(1, 200, 0, 0)]])
    assert plane.journal.unavailable is None


async def test_a_failed_sync_is_final(make_plane: MakePlane) -> None:
    """Rule 9: never retried and believed."""
    plane = make_plane()
    failures: list[object] = []
    plane.journal.on_failed = failures.append
    plane.journal.append([event(1)])
    plane.journal.append([event(2)])
    plane.backend.complete(FAILED)
    assert plane.journal.failure is FAILED
    assert failures == [FAILED]
    assert plane.backend.calls == ["sync"]
    with pytest.raises(LogFailedError):
        plane.journal.append([event(3)])
    with pytest.raises(LogFailedError):
        await plane.journal.make_durable()
    plane.journal.record_outcome(1, 200, 0, 0)
    plane.journal.flush_outcomes()
    assert plane.backend.last_version == 2
    assert plane.journal.release_version == 0


async def test_a_failed_append_is_final_too(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.backend.fail_append = FAILED
    with pytest.raises(LogFailedError):
        plane.journal.append([event(1)])
    plane.backend.fail_append = None
    with pytest.raises(LogFailedError):
        plane.journal.append([event(1)])


async def test_make_durable_waits_for_everything_that_was_appended(make_plane: MakePlane) -> None:
    """Rule 4: also for what came while an earlier sync was under way, and for outcomes."""
    plane = make_plane()
    plane.journal.append([event(1)])
    plane.journal.append([event(2)])
    plane.journal.record_outcome(1, 200, 0, 0)
    waiting = asyncio.create_task(plane.journal.make_durable())
    await turn()
    plane.backend.complete()
    await turn()
    assert not waiting.done()
    plane.backend.complete()
    await waiting
    assert plane.journal.durable_version == 2
    assert len(records_of(plane.backend, Outcome)) == 1
    await plane.journal.make_durable()
    assert plane.backend.calls == ["sync", "sync"]


async def test_make_durable_tells_of_a_sync_that_fails_meanwhile(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.journal.append([event(1)])
    waiting = asyncio.create_task(plane.journal.make_durable())
    await turn()
    plane.backend.complete(FAILED)
    with pytest.raises(LogFailedError):
        await waiting


async def test_make_durable_does_not_wait_for_the_relaxed_window(make_plane: MakePlane) -> None:
    plane = make_plane(Durability.RELAXED, relaxed_window_ms=60_000)
    plane.journal.append([event(1)])
    waiting = asyncio.create_task(plane.journal.make_durable())
    await turn()
    plane.backend.complete()
    await waiting
    assert plane.journal.durable_version == 1
    closing = asyncio.create_task(plane.journal.close())
    await closing


async def test_nothing_is_synced_after_the_close(make_plane: MakePlane) -> None:
    """A timer that the last outcomes have set must not touch a closed log."""
    plane = make_plane(Durability.RELAXED, relaxed_window_ms=60_000)
    plane.journal.append([event(1)])
    plane.journal._sync_due()
    plane.backend.complete()
    plane.journal._sync_timer = None
    plane.journal.record_outcome(1, 200, 0, 0)
    closing = asyncio.create_task(plane.journal.close())
    await turn()
    plane.backend.complete()
    await closing
    assert plane.backend.calls == ["sync", "sync", "close"]
    assert plane.journal._sync_timer is not None
    assert plane.journal._sync_timer.cancelled()
    assert plane.journal._outcomes_timer is not None
    assert plane.journal._outcomes_timer.cancelled()


async def test_a_reader_sees_outcomes_that_were_recorded_a_moment_ago(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.journal.append([event(1)])
    plane.journal.record_outcome(1, 200, 0, 0)
    reader = plane.journal.reader(1)
    assert await reader.next_batch(10, 1_000) == [event(1), Outcome(1, 200, 0, 0)]


async def test_marks_tombstones_and_facts(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.journal.append([event(1)])
    plane.journal.append_mark("checkpoint", 1, id="mark-1")
    plane.journal.append_quarantine(1, "it kills")
    plane.journal.store_fact("clean_stop", 1)
    (mark,) = records_of(plane.backend, Mark)
    assert (mark.kind, mark.version, mark.detail) == ("checkpoint", 1, {"id": "mark-1"})
    assert records_of(plane.backend, Quarantine)[0].version == 1
    assert plane.backend.facts == {"clean_stop": 1}


async def test_it_goes_on_where_the_log_stands(make_plane: MakePlane) -> None:
    """After our own restart what is durable may be released."""
    backend = filled(3)
    backend.facts = {"incarnation": "life-0"}
    plane = make_plane(backend=backend)
    assert plane.journal.last_version == plane.journal.release_version == 3
    assert plane.journal.facts == {"incarnation": "life-0"}
    assert len(records_of(backend, Event)) == 3


def test_a_fake_backend_keeps_the_protocol() -> None:
    """What these tests rest on: a sync covers what was there when it started."""
    backend = FakeBackend()
    backend.append([event(1)])
    backend.sync(lambda error: None)
    backend.append([event(2)])
    backend.complete()
    assert backend.durable_version == 1


async def test_what_a_sync_covers_and_how_old_the_oldest_undurable_record_is(
    make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 2: metrics show what is not durable yet."""
    now_s = 100.0
    monkeypatch.setattr("interceptor.journal.monotonic", lambda: now_s)
    plane = make_plane()
    assert plane.journal.durable_lag_s == 0.0
    plane.journal.append([event(1)])
    now_s = 101.0
    plane.journal.append([event(2)])
    now_s = 103.0
    assert plane.journal.durable_lag_s == 3.0
    plane.backend.complete()
    assert plane.journal.durable_lag_s == 2.0, "event 2 is the oldest now, and its sync has started"
    plane.backend.complete()
    assert plane.journal.durable_lag_s == 0.0
    assert plane.counters.spill_events.total == 2
    assert plane.counters.spill_bytes.total == 200


async def test_a_limit_that_the_log_has_reached_is_counted(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.backend.fail_append = LogUnavailableError("fake: full", limit="ring_events_max")
    with pytest.raises(LogUnavailableError):
        plane.journal.append([event(1)])
    assert plane.counters.limits_reached["ring_events_max"] == 1
