"""The ring: bounded, and honest about what it dropped (design rules 7 and 8)."""

from __future__ import annotations

import pytest

from storage_backends import open_log
from storage_backends.conformance import event, events, read_all, versions
from storage_backends.errors import LogGapError
from storage_backends.records import Outcome
from storage_backends.ring import EVENT_OVERHEAD_BYTES, Ring


async def test_the_ring_drops_the_oldest_beyond_its_number_of_entries() -> None:
    log = open_log("memory:", ring_events_max=10)
    for version in range(1, 5001):
        log.append([event(version)])
    assert (log.first_version, log.last_version) == (4991, 5000)
    assert await read_all(log.reader(4991)) == events(4991, 5000)


async def test_the_ring_drops_the_oldest_beyond_its_bytes_and_counts_them_exactly() -> None:
    log = open_log("memory:", ring_bytes_max=10_000)
    for version in range(1, 501):
        log.append([Outcome(version, 200, 1, 2), event(version, b"x" * 1000)])
        assert log.size_bytes <= 10_000
    log.trim(10_000)
    assert (log.size_bytes, log.first_version, log.last_version) == (0, 501, 500)


async def test_an_event_larger_than_the_ring_is_kept_until_the_next() -> None:
    log = open_log("memory:", ring_bytes_max=1)
    log.append([event(1, b"x" * 1000)])
    assert versions(await read_all(log.reader(1))) == [1]
    log.append([event(2)])
    assert log.first_version == 2


async def test_a_reader_of_a_dropped_version_is_told_what_is_kept_and_what_keeps_everything() -> None:
    log = open_log("memory:", ring_events_max=10)
    log.append(events(1, 100))
    with pytest.raises(LogGapError, match=r"91.*file or database log keeps everything"):
        log.reader(1)


async def test_a_reader_that_is_overtaken_is_told_and_one_that_keeps_up_is_not() -> None:
    log = open_log("memory:", ring_events_max=10)
    slow, quick = log.reader(1), log.reader(1)
    for version in range(1, 4001):
        log.append([event(version)])
        assert await quick.next_batch(5, 1000) == [event(version)]
    with pytest.raises(LogGapError, match="overtaken"):
        await slow.next_batch(5, 1000)
    with pytest.raises(LogGapError, match="overtaken"):
        await slow.next_batch(5, 1000)


def test_outcomes_of_a_batch_cost_28_bytes_each() -> None:
    ring = Ring(100, 1 << 20)
    ring.append([Outcome(version, 200, 10, 2**64 - 1) for version in range(1, 101)])
    assert ring.end == 1
    assert ring.size_bytes <= 100 * 28 + 100


def test_the_position_of_every_version_is_found_among_other_records() -> None:
    ring = Ring(10_000, 1 << 24)
    for version in range(1, 301):
        ring.append([event(version), *[Outcome(version, 200, 1, 2)] * (version % 2), *([event(version)] * 0)])
    for version in range(1, 302):
        records, _ = ring.read(ring.position(version), 2, EVENT_OVERHEAD_BYTES)
        assert [number for number in versions(records) if number < version] == []
