"""A disk that is full or broken: nothing half-kept, and a failure is final (design rules 8 and 9)."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage_backends.conformance import event, events, read_all, synced
from storage_backends.errors import LogFailedError, LogLockedError, LogUnavailableError
from storage_backends.file import FileLog
from storage_backends.options import LogOptions

if TYPE_CHECKING:
    from tests.storage_backends.conftest import FaultyFileSystem

TINY = LogOptions(segment_bytes_max=1)


def open_log(place: Path, faulty: FaultyFileSystem | None = None, options: LogOptions | None = None) -> FileLog:
    return FileLog(f"file://{place}", place / "log", options or LogOptions(), faulty)


def written(place: Path) -> dict[Path, bytes]:
    """Return the segments without the room that is prepared behind them."""
    return {path: path.read_bytes().rstrip(b"\0") for path in (place / "log").glob("*.log")}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("short_bytes", [None, 1, 70])
@pytest.mark.parametrize("options", [LogOptions(), TINY])
async def test_a_full_disk_keeps_nothing_of_the_batch_and_takes_it_later(
    code: int, short_bytes: int | None, options: LogOptions, tmp_path: Path, faulty: FaultyFileSystem
) -> None:
    log = open_log(tmp_path, faulty, options)
    log.append(events(1, 3))
    before = written(tmp_path)
    reader = log.reader(1)
    assert await reader.next_batch(10, 10_000) == events(1, 3)
    for _ in range(2):
        if short_bytes is None:
            faulty.fail_next("pwrite", code)
        else:
            faulty.shorten_next_write(short_bytes)
            faulty.faults["pwrite", faulty.counts["pwrite"] + 2] = OSError(code, "full")
        with pytest.raises(LogUnavailableError, match="space"):
            log.append(events(4, 6))
        assert written(tmp_path) == before
        assert await reader.next_batch(10, 10_000) == []
        assert log.last_version == 3
    log.append(events(4, 6))
    assert await synced(log) is None
    assert await reader.next_batch(10, 10_000) == events(4, 6)
    reader.close()
    log.close()
    log = open_log(tmp_path)
    assert await read_all(log.reader(1)) == events(1, 6)
    log.close()


async def test_a_short_write_is_completed(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty)
    faulty.shorten_next_write(5)
    log.append(events(1, 3))
    assert await read_all(log.reader(1)) == events(1, 3)
    log.close()


async def test_no_space_for_a_new_segment_is_only_a_delay(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty, TINY)
    log.append(events(1, 1))
    faulty.fail_next("open", errno.ENOSPC)
    with pytest.raises(LogUnavailableError):
        log.append(events(2, 2))
    log.append(events(2, 2))
    assert await read_all(log.reader(1)) == events(1, 2)
    log.close()


@pytest.mark.parametrize("options", [LogOptions(), TINY])
async def test_a_write_error_is_final(options: LogOptions, tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty, options)
    log.append(events(1, 1))
    faulty.fail_next("pwrite", errno.EIO)
    with pytest.raises(LogFailedError, match=r"\.log at byte"):
        log.append(events(2, 2))
    with pytest.raises(LogFailedError):
        log.append(events(2, 2))
    with pytest.raises(LogFailedError):
        log.sync(lambda _: None)
    assert log.last_version == 1
    log.close()
    log = open_log(tmp_path)
    assert await read_all(log.reader(1)) == events(1, 1)
    log.close()


async def test_what_can_not_be_taken_back_is_final(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty)
    faulty.fail_next("pwrite", errno.ENOSPC)
    faulty.fail_next("ftruncate", errno.EIO)
    with pytest.raises(LogFailedError, match="can't be taken back"):
        log.append(events(1, 1))
    with pytest.raises(LogFailedError):
        log.append(events(1, 1))
    log.close()


@pytest.mark.parametrize("compression", ["none", "zstd"])
async def test_closing_is_bounded_where_a_flush_hangs(
    compression: str, tmp_path: Path, faulty: FaultyFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules 2 and 8: what was not flushed is not called durable, and nobody else may write until the disk is done."""
    monkeypatch.setattr("storage_backends.file.log.CLOSE_TIMEOUT_S", 0.01)
    monkeypatch.setattr("storage_backends.file.log.GIVEN_UP_TIMEOUT_S", 0.01)
    log = open_log(tmp_path, faulty, LogOptions(compression=compression))
    log.append(events(1, 1))
    assert await synced(log) is None
    for under_way in (False, True):
        answers = threading.Event()
        with monkeypatch.context() as patch:
            patch.setattr(faulty, "fdatasync", lambda fd, answers=answers: answers.wait())
            log.append(events(log.last_version + 1, log.last_version + 1))
            if under_way:
                log.sync(lambda _: None)
            with pytest.raises(LogFailedError, match=f"does not answer.*after version {log.durable_version} "):
                log.close()
        assert log.durable_version == log.last_version - 1
        with pytest.raises(LogLockedError):
            open_log(tmp_path)
        answers.set()
        log._thread.finish(lambda: None)
        log = open_log(tmp_path, faulty)
    assert await read_all(log.reader(1)) == events(1, 3)
    log.close()


async def test_a_failed_flush_is_not_repeated_at_the_close(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    """Rule 9: also where the close comes before the answer."""
    log = open_log(tmp_path, faulty)
    log.append(events(1, 1))
    faulty.fail_next("fdatasync", errno.EIO)
    log.sync(lambda _: None)
    log.append(events(2, 2))
    with pytest.raises(LogFailedError, match="Input/output error"):
        log.close()
    assert log.durable_version == 0


async def test_a_failed_flush_is_never_retried_and_believed(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty)
    log.append(events(1, 1))
    assert await synced(log) is None
    log.append(events(2, 2))
    faulty.fail_next("fdatasync", errno.EIO)
    error = await synced(log)
    assert isinstance(error, LogFailedError)
    assert "version 1" in str(error)
    assert log.durable_version == 1
    flushes = faulty.counts["fdatasync"]
    with pytest.raises(LogFailedError):
        log.append(events(3, 3))
    with pytest.raises(LogFailedError):
        log.sync(lambda _: None)
    log.close()
    assert (faulty.counts["fdatasync"], log.durable_version) == (flushes, 1)


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
async def test_a_new_segment_is_durable_only_with_its_directory_and_its_predecessor(
    call: str, tmp_path: Path, faulty: FaultyFileSystem
) -> None:
    log = open_log(tmp_path, faulty, TINY)
    log.append(events(1, 1))
    log.append(events(2, 2))
    faulty.fail_next(call, errno.EIO)
    assert isinstance(await synced(log), LogFailedError)
    assert log.durable_version == 0
    log.close()


async def test_appending_never_flushes_and_never_waits_for_a_flush(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty, TINY)
    before = (faulty.counts["fdatasync"], faulty.counts["fsync"])
    for version in range(1, 31):
        log.append([event(version)])
    assert (faulty.counts["fdatasync"], faulty.counts["fsync"]) == before
    assert len(list((tmp_path / "log").glob("*.log"))) == 5, "no more than 4 finished segments wait for their flush"
    assert await synced(log) is None
    assert log.durable_version == 30
    log.append(events(31, 31))
    assert len(list((tmp_path / "log").glob("*.log"))) == 6
    log.close()


async def test_a_failed_flush_at_the_close_is_told(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty)
    log.append(events(1, 1))
    faulty.fail_next("fdatasync", errno.EIO)
    with pytest.raises(LogFailedError):
        log.close()
    assert log.durable_version == 0
    open_log(tmp_path).close()


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_what_can_not_be_flushed_on_open_is_not_called_durable(
    call: str, tmp_path: Path, faulty: FaultyFileSystem
) -> None:
    open_log(tmp_path).close()
    faulty.fail_next(call, errno.EIO)
    with pytest.raises(LogFailedError):
        open_log(tmp_path, faulty)
    open_log(tmp_path).close()


@pytest.mark.parametrize("short_bytes", [None, 5])
def test_no_space_to_create_the_log_is_only_a_delay(
    short_bytes: int | None, tmp_path: Path, faulty: FaultyFileSystem
) -> None:
    if short_bytes:
        faulty.shorten_next_write(short_bytes)
    faulty.faults["pwrite", 2 if short_bytes else 1] = OSError(errno.ENOSPC, "full")
    with pytest.raises(LogUnavailableError):
        open_log(tmp_path, faulty)
    log = open_log(tmp_path)
    assert log.last_version == 0
    log.close()


async def test_a_failed_flush_after_a_trim_is_final(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty, TINY)
    for version in range(1, 4):
        log.append([event(version)])
    assert await synced(log) is None
    faulty.fail_next("fsync", errno.EIO)
    log.trim(3)
    log.append(events(4, 4))
    assert await synced(log) is not None
    log.close()
