"""The test suite that every backend passes; an outside author imports it and runs it by pytest.

    from storage_backends.conformance import LogConformance

    class TestMyLog(LogConformance):
        def open(self, place: Path) -> LogBackend:
            return MyLog(f"mine:{place}")

It needs pytest and pytest-asyncio.  `place` is a fresh directory for each test; opening the same place again, after a
close, must bring the same log back where `survives_close` says so.  `start` is awaited here (docs/log-backends.md).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest

from storage_backends.backend import LogBackend, LogReader
from storage_backends.errors import LogError, LogFailedError, LogGapError, LogLockedError
from storage_backends.records import Event, Mark, Outcome, Quarantine, Record

U64_MAX = 2**64 - 1


def event(version: int, body: bytes = b"") -> Event:
    """Return an event whose bytes tell its version."""
    return Event(version, 1_700_000_000_000_000_000 + version, b"GET /%d HTTP/1.1\r\n\r\n" % version, body)


def events(first: int, last: int) -> list[Record]:
    """Return the events `first`…`last`."""
    return [event(version) for version in range(first, last + 1)]


async def read_all(reader: LogReader, events_max: int = 100, bytes_max: int = 1 << 20) -> list[Record]:
    """Return everything up to the present end, and close the reader."""
    records: list[Record] = []
    try:
        while batch := await reader.next_batch(events_max, bytes_max):
            records += batch
    finally:
        reader.close()
    return records


async def synced(log: LogBackend) -> LogError | None:
    """Sync, and return what the sync reported."""
    answer: asyncio.Future[LogError | None] = asyncio.get_running_loop().create_future()
    log.sync(answer.set_result)
    return await answer


def versions(records: list[Record]) -> list[int]:
    """Return the versions of the events among the records."""
    return [record.version for record in records if type(record) is Event]


class LogConformance:
    """What LogBackend promises, one rule a test."""

    pytestmark: ClassVar = [pytest.mark.asyncio]
    survives_close: ClassVar[bool] = True

    def open(self, place: Path) -> LogBackend:
        """Return the log kept at `place`; called again for the same place to open it once more."""
        raise NotImplementedError

    async def _opened(self, tmp_path: Path) -> LogBackend:
        log = self.open(tmp_path / "log")
        try:
            await log.start()
        except BaseException:
            log.close()
            raise
        return log

    async def test_an_empty_log_has_no_version(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        assert (log.first_version, log.last_version, log.durable_version) == (1, 0, 0)
        assert await read_all(log.reader(1)) == []
        log.close()

    async def test_every_kind_of_record_comes_back_as_it_went_in_and_in_order(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        batches: list[list[Record]] = [
            [Mark("incarnation", 0, 7, {"inode": 42, "reason": "größer"})],
            [event(1, bytes(range(256))), event(2)],
            [Outcome(1, 200, 0, 0), Outcome(2, 503, U64_MAX, U64_MAX), event(3, b"x" * 300_000), Outcome(3, 204, 5, 6)],
            [Quarantine(3, 8, "killed the target"), Mark("clean-stop", 3, -1, {})],
        ]
        for batch in batches:
            log.append(batch)
        expected = [record for batch in batches for record in batch]
        assert await read_all(log.reader(1)) == expected
        assert await read_all(log.reader(1), events_max=1) == expected
        assert await read_all(log.reader(1), bytes_max=1) == expected
        log.close()

    async def test_last_version_follows_the_events_appended(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        log.append(events(1, 3))
        log.append([Outcome(1, 200, 0, 0)])
        log.append([])
        log.append(events(4, 4))
        assert (log.first_version, log.last_version) == (1, 4)
        assert log.size_bytes > 0
        log.close()

    @pytest.mark.parametrize("first", [0, 1, 2, 4])
    async def test_a_version_that_does_not_continue_is_refused_and_nothing_kept(
        self, tmp_path: Path, first: int
    ) -> None:
        log = await self._opened(tmp_path)
        log.append(events(1, 2))
        with pytest.raises(ValueError, match="continue"):
            log.append([Outcome(1, 200, 0, 0), *events(first, first), *events(first + 5, first + 5)])
        log.append(events(3, 3))
        assert await read_all(log.reader(1)) == events(1, 3)
        log.close()

    async def test_a_sync_makes_everything_before_it_durable(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        log.append(events(1, 5))
        assert await synced(log) is None
        assert log.durable_version == 5
        assert await synced(log) is None
        log.append(events(6, 6))
        assert await synced(log) is None
        assert log.durable_version == 6
        log.close()

    async def test_what_is_appended_during_a_sync_waits_for_the_next_one(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        log.append(events(1, 1))
        answer: asyncio.Future[LogError | None] = asyncio.get_running_loop().create_future()
        log.sync(answer.set_result)
        log.append(events(2, 2))
        assert not answer.done()
        assert await answer is None
        assert 1 <= log.durable_version <= 2
        assert await synced(log) is None
        assert log.durable_version == 2
        log.close()

    async def test_a_reader_goes_on_where_it_had_ended(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        reader = log.reader(1)
        assert await reader.next_batch(10, 1000) == []
        for version in range(1, 6):
            log.append([event(version), Outcome(version, 200, 1, 2)])
            assert await reader.next_batch(10, 10_000) == [event(version), Outcome(version, 200, 1, 2)]
            assert await reader.next_batch(10, 10_000) == []
        reader.close()
        reader.close()
        log.close()

    async def test_a_reader_can_begin_at_every_version(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        for version in range(1, 41):
            log.append([event(version), *([Outcome(version, 200, 1, 2)] * (version % 3))])
        for version in range(1, 42):
            found = versions(await read_all(log.reader(version)))
            assert [number for number in found if number >= version] == list(range(version, 41))
        log.close()

    async def test_a_reader_of_the_future_waits_for_it(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        log.append(events(1, 3))
        reader = log.reader(4)
        assert 4 not in versions(await reader.next_batch(10, 1000))
        log.append(events(4, 4))
        assert versions(await reader.next_batch(10, 1000)) == [4]
        with pytest.raises(LogGapError):
            log.reader(6)
        reader.close()
        log.close()

    async def test_a_batch_is_about_as_large_as_was_asked_for(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        log.append([event(version, b"x" * 1000) for version in range(1, 101)])
        reader = log.reader(1)
        assert 1 <= len(await reader.next_batch(10, 1 << 20)) <= 10
        assert 1 <= len(await reader.next_batch(100, 5000)) <= 6
        assert len(await reader.next_batch(100, 1)) == 1
        reader.close()
        log.close()

    async def test_trim_keeps_everything_from_the_version_named(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        for version in range(1, 101):
            log.append([event(version, b"x" * 1000)])
        await synced(log)
        log.trim(51)
        assert 1 <= log.first_version <= 51
        assert versions(await read_all(log.reader(51)))[-50:] == list(range(51, 101))
        log.trim(10_000)
        assert log.last_version == 100
        if log.first_version > 1:
            with pytest.raises(LogGapError):
                log.reader(log.first_version - 1)
        log.append(events(101, 101))
        assert versions(await read_all(log.reader(101)))[-1] == 101
        log.close()

    async def test_a_closed_log_takes_nothing(self, tmp_path: Path) -> None:
        log = await self._opened(tmp_path)
        log.close()
        log.close()
        with pytest.raises(LogFailedError):
            log.append(events(1, 1))

    async def test_a_second_writer_is_refused(self, tmp_path: Path) -> None:
        if not self.survives_close:
            pytest.skip("this log is private to its process")
        log = await self._opened(tmp_path)
        with pytest.raises(LogLockedError):
            await self._opened(tmp_path)
        log.close()
        (await self._opened(tmp_path)).close()

    async def test_an_opened_log_is_the_one_that_was_closed_and_durable(self, tmp_path: Path) -> None:
        if not self.survives_close:
            pytest.skip("nothing of this log outlives its process")
        expected: list[Record] = []
        for first in range(1, 40, 4):
            log = await self._opened(tmp_path)
            assert (log.first_version, log.last_version, log.durable_version) == (1, first - 1, first - 1)
            assert await read_all(log.reader(1)) == expected
            batch: list[Record] = [*events(first, first + 3), Outcome(first, 200, 1, 2)]
            log.append(batch)
            expected += batch
            log.close()
