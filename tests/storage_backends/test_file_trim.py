"""Trimming the file log: whole segments go, oldest first, and no crash or fault leaves a hole."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interceptor.logview.verification import verify_directory
from storage_backends.conformance import event, events, read_all, synced, versions
from storage_backends.errors import LogFailedError, LogGapError
from storage_backends.file import FileLog, open_file_log_readonly
from storage_backends.file.segment import segment_name
from storage_backends.options import LogOptions
from tests.storage_backends.conftest import without_ring

if TYPE_CHECKING:
    from tests.storage_backends.conftest import FaultyFileSystem


async def filled(place: Path, faulty: FaultyFileSystem | None = None) -> FileLog:
    """Return a log of ten segments with an event each."""
    log = without_ring(FileLog("file:", place, LogOptions(segment_bytes_max=1), faulty))
    for version in range(1, 11):
        log.append([event(version)])
        assert await synced(log) is None
    return log


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("*.log"))


async def settled(log: FileLog) -> None:
    """Wait until the thread has done what it was given before."""
    log.append(events(log.last_version + 1, log.last_version + 1))
    assert await synced(log) is None


@pytest.mark.parametrize("below", [0, 1, 2, 5, 10, 11, 99])
async def test_what_is_below_goes_and_what_is_from_there_on_stays(below: int, tmp_path: Path) -> None:
    log = await filled(tmp_path)
    log.trim(below)
    await settled(log)
    kept = min(max(below, 1), 10)
    assert log.first_version == kept
    assert names(tmp_path) == [segment_name(version) for version in range(kept, 12)]
    assert versions(await read_all(log.reader(kept))) == list(range(kept, 12))
    assert log.size_bytes == sum(segment.end_bytes for segment in log._catalogue._segments)
    log.store_facts({"checkpoints": [{"version": kept - 1, "holds_state": True}]})
    log.close()
    verification = verify_directory(tmp_path, lambda _more, _total: None)
    assert (verification.damages, verification.first_version) == ([], kept)
    log = FileLog("file:", tmp_path, LogOptions(segment_bytes_max=1))
    assert (log.first_version, log.last_version) == (kept, 11)
    log.close()


async def test_readers_that_are_open_go_on_or_are_told_of_the_gap(tmp_path: Path) -> None:
    """Rule 8: a reader either sees every version in order or is refused; beside the writer as in its process."""
    log = await filled(tmp_path)
    view = open_file_log_readonly(tmp_path)
    behind, ahead, beside = log.reader(1), log.reader(7), view.reader(1)
    for reader, first in ((behind, 1), (ahead, 7), (beside, 1)):
        assert versions(await reader.next_batch(1, 1)) == [first]
    log.trim(6)
    await settled(log)
    assert versions(await read_all(ahead)) == list(range(8, 12))
    for late in (behind, beside):
        with pytest.raises(LogGapError, match="trimmed"):
            await late.next_batch(1, 1)
        late.close()
    log.close()


@pytest.mark.parametrize("removed", range(6))
async def test_a_crash_between_two_removals_leaves_a_log(removed: int, tmp_path: Path) -> None:
    """Oldest first, so that what is left has no hole; the next trim removes the rest."""
    (await filled(tmp_path)).close()
    for version in range(1, removed + 1):
        (tmp_path / segment_name(version)).unlink()
    log = FileLog("file:", tmp_path, LogOptions(segment_bytes_max=1))
    assert log.first_version == removed + 1
    assert versions(await read_all(log.reader(removed + 1))) == list(range(removed + 1, 11))
    log.trim(7)
    await settled(log)
    assert names(tmp_path)[0] == segment_name(7)
    log.close()


async def test_a_segment_that_cannot_be_removed_keeps_those_behind_it(
    tmp_path: Path, faulty: FaultyFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    log = await filled(tmp_path, faulty)
    faulty.faults["unlink", faulty.counts.get("unlink", 0) + 3] = OSError(errno.EPERM, "not permitted", "it")
    log.trim(7)
    await settled(log)
    assert "can't be removed" in caplog.text
    assert names(tmp_path)[0] == segment_name(3)
    log.close()
    log = FileLog("file:", tmp_path, LogOptions(segment_bytes_max=1))
    assert versions(await read_all(log.reader(3))) == list(range(3, 12))
    log.trim(7)
    await settled(log)
    assert names(tmp_path)[0] == segment_name(7)
    log.close()


async def test_a_directory_that_cannot_be_flushed_behind_a_trim_fails_the_log(
    tmp_path: Path, faulty: FaultyFileSystem
) -> None:
    """Rule 9: the flush may have been meant for a new segment as well."""
    log = await filled(tmp_path, faulty)
    faulty.fail_next("fsync", errno.EIO)
    log.trim(5)
    log.append([event(11)])
    await synced(log)
    with pytest.raises(LogFailedError):
        log.append([event(12)])
    log.close()
