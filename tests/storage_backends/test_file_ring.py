"""The ring in front of the segments: exact hand-over between memory and file, bounds, and back-pressure."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage_backends.conformance import event, events, read_all, synced
from storage_backends.errors import LogUnavailableError
from storage_backends.file import FileLog
from storage_backends.file.filesystem import OsFileSystem
from storage_backends.file.recent import RecentBatches
from storage_backends.options import LogOptions
from storage_backends.records import Outcome, Record

OPTIONS = LogOptions(segment_bytes_max=500)


class HangingFileSystem(OsFileSystem):
    """Flushes of files wait until the test lets them go."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def fdatasync(self, fd: int) -> None:  # type: ignore[override]
        self.released.wait(30)
        os.fdatasync(fd)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ring_events=st.integers(1, 12),
    steps=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=15),
    from_version=st.integers(1, 8),
)
def test_a_reader_sees_everything_once_wherever_the_ring_begins(
    tmp_path_factory: pytest.TempPathFactory, ring_events: int, steps: list[tuple[int, int, int]], from_version: int
) -> None:
    """Rule 1: whatever is dropped between two reads, what is read has no gap and nothing twice."""

    async def run() -> None:
        place = tmp_path_factory.mktemp("ring") / "log"
        log = FileLog("file:", place, OPTIONS)
        log._recent = RecentBatches(ring_events, 1 << 30)
        written: list[Record] = []
        early: list[Record] = []
        reader = log.reader(1)
        late, late_read = None, list[Record]()
        version = 0
        for count, outcomes, reads in steps:
            batch: list[Record] = [*events(version + 1, version + count)]
            version += count
            batch += [Outcome(version, 200, number, 4) for number in range(outcomes)]
            log.append(batch)
            written += batch
            if late is None and version + 1 >= from_version:
                late, behind = (
                    log.reader(from_version),
                    written.index(event(from_version - 1)) if from_version > 1 else -1,
                )
            for _ in range(reads):
                early += await reader.next_batch(2, 1 << 20)
                late_read += await late.next_batch(3, 1 << 20) if late else []
        assert early == written[: len(early)]
        assert early + await read_all(reader) == written
        if late:
            found = late_read + await read_all(late)
            assert found == written[len(written) - len(found) :]
            assert len(found) == len(written) - behind - 1
        log.close()

    asyncio.run(run())


async def test_the_hot_tail_is_read_without_the_files(tmp_path: Path) -> None:
    log = FileLog("file:", tmp_path, OPTIONS)
    for version in range(1, 21):
        log.append([event(version)])
    for name in os.listdir(tmp_path):
        os.unlink(tmp_path / name)
    assert await read_all(log.reader(1)) == events(1, 20)
    assert (await read_all(log.reader(17)))[-4:] == events(17, 20)


async def test_the_ring_is_bounded_in_events_and_in_bytes(tmp_path: Path) -> None:
    """Rule 7. The newest batch stays, whatever its size."""
    log = FileLog("file:", tmp_path, LogOptions())
    log._recent = RecentBatches(10, 20_000)
    for version in range(1, 101):
        log.append([event(version), Outcome(version, 200, 1, 2)])
        assert log.ring.events <= 10
    log.append([event(101, b"x" * 30_000)])
    assert (log.ring.events, log.ring.size_bytes > 30_000) == (1, True)
    log.append([event(102)])
    assert log.ring.size_bytes < 1_000
    log.close()


@pytest.mark.parametrize(
    ("options", "limit"),
    [(LogOptions(ring_events_max=5), "ring_events_max"), (LogOptions(ring_bytes_max=500), "ring_bytes_max")],
)
async def test_a_disk_that_hangs_is_back_pressure_and_no_loss(tmp_path: Path, options: LogOptions, limit: str) -> None:
    """Rule 7: what waits for a flush is bounded; when the disk goes on, so does the log."""
    FileLog("file:", tmp_path, options).close()
    disk = HangingFileSystem()
    disk.released.set()
    log = FileLog("file:", tmp_path, options, disk)
    disk.released.clear()
    log.append([event(1)])
    flushing = asyncio.create_task(synced(log))
    await asyncio.sleep(0)
    taken = 1
    with pytest.raises(LogUnavailableError, match=limit) as refused:  # noqa: PT012
        while taken < 100:
            log.append([event(taken + 1)])
            taken += 1
    assert refused.value.limit == limit
    assert 2 <= taken < 20
    assert log.last_version == taken
    disk.released.set()
    assert await flushing is None
    assert await synced(log) is None
    log.append([event(taken + 1)])
    assert await read_all(log.reader(1)) == events(1, taken + 1)
    log.close()
