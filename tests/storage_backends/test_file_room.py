"""Prepared room: zeros behind a segment's end are no record and no damage, wherever a log is read."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage_backends.conformance import event, events, read_all, synced
from storage_backends.errors import LogDamagedError, LogFailedError, LogUnavailableError
from storage_backends.file import FileLog, open_file_log_readonly
from storage_backends.file.inspection import damages_of, inspected_segments
from storage_backends.file.repair import prepared_repair
from storage_backends.file.room import CHUNK_BYTES, LOW_BYTES, written_end_bytes
from storage_backends.file.segment import HEADER_BYTES
from storage_backends.file.segment_file import PlainFile
from storage_backends.file.tolerant_view import TolerantFileView
from storage_backends.options import LogOptions
from storage_backends.records import Outcome
from tests.storage_backends.conftest import PREPARE, without_ring

if TYPE_CHECKING:
    from tests.storage_backends.conftest import FaultyFileSystem

SEGMENT_BYTES_MAX = 4 * CHUNK_BYTES


def open_log(place: Path, faulty: FaultyFileSystem | None = None, bytes_max: int = SEGMENT_BYTES_MAX) -> FileLog:
    return FileLog("file:", place, LogOptions(segment_bytes_max=bytes_max), faulty)


def segments(place: Path) -> list[Path]:
    return sorted(place.glob("*.log"))


def sizes(place: Path) -> list[int]:
    return [path.stat().st_size for path in segments(place)]


def add_room(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(4096))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What a killed writer leaves: nine events, each with an outcome, and room behind the last."""
    log = open_log(tmp_path / "written", bytes_max=200)
    for version in range(1, 10):
        log.append([event(version), Outcome(version, 200, 3, 4)])
    log.close()
    place = tmp_path / "log"
    shutil.copytree(tmp_path / "written", place)
    add_room(segments(place)[-1])
    return place


async def kept(place: Path) -> list[object]:
    reader = open_file_log_readonly(place.with_name("written")).reader(1)
    records = await read_all(reader)
    reader.close()
    return [*records]


# --- the writer


async def test_room_is_prepared_ahead_renewed_in_time_and_not_counted(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty)
    body = b"x" * 10_000
    for version in range(1, 101):
        log.append([event(version, body)])
        assert sizes(tmp_path)[0] - log.size_bytes >= LOW_BYTES
    assert faulty.counts[PREPARE] < 5
    assert await synced(log) is None
    log.close()
    assert sizes(tmp_path) == [log.size_bytes]


async def test_no_room_is_prepared_beyond_what_a_segment_may_hold(tmp_path: Path) -> None:
    log = open_log(tmp_path, bytes_max=LOW_BYTES)
    log.append([event(1)])
    assert sizes(tmp_path) == [LOW_BYTES]
    log.append([event(2, bytes(LOW_BYTES))])
    assert sizes(tmp_path) == [log.size_bytes]
    log.close()


async def test_a_full_segment_ends_where_its_records_end(tmp_path: Path) -> None:
    log = open_log(tmp_path, bytes_max=1000)
    log.append([event(1, b"x" * 999)])
    first_bytes = log.size_bytes
    log.append([event(2)])
    assert sizes(tmp_path)[0] == first_bytes
    log.close()


async def test_a_full_disk_only_ends_the_preparing(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty)
    faulty.fail_next(PREPARE, errno.ENOSPC)
    log.append(events(1, 3))
    assert sizes(tmp_path) == [log.size_bytes]
    log.append(events(4, 5))
    assert faulty.counts[PREPARE] == 1, "each try could take what little space is left"
    assert await synced(log) is None
    assert await read_all(log.reader(1)) == events(1, 5)
    log.close()


async def test_a_disk_error_while_preparing_is_final(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty)
    faulty.fail_next(PREPARE, errno.EIO)
    with pytest.raises(LogFailedError):
        log.append(events(1, 3))
    with pytest.raises(LogFailedError):
        log.append(events(1, 3))
    log.close()


async def test_a_failed_append_forgets_the_room(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty)
    log.append(events(1, 3))
    faulty.fail_next("pwrite", errno.ENOSPC)
    with pytest.raises(LogUnavailableError):
        log.append(events(4, 6))
    assert sizes(tmp_path) == [log.size_bytes]
    log.append(events(4, 6))
    assert sizes(tmp_path)[0] >= log.size_bytes + LOW_BYTES
    assert await read_all(log.reader(1)) == events(1, 6)
    log.close()


async def test_a_segment_that_can_not_be_ended_is_a_failure(tmp_path: Path, faulty: FaultyFileSystem) -> None:
    log = open_log(tmp_path, faulty, 10 * LOW_BYTES)
    log.append([event(1, bytes(LOW_BYTES))])
    while log.size_bytes < 10 * LOW_BYTES:
        log.append([event(log.last_version + 1, bytes(LOW_BYTES - 100))])
    log._writer._room_end_bytes = log.size_bytes + 1
    faulty.fail_next("ftruncate", errno.EIO)
    with pytest.raises(LogFailedError, match="cut at its end"):
        log.append([event(log.last_version + 1)])
    log.close()


# --- opening


async def test_room_left_by_a_killed_writer_is_the_end_and_nothing_was_cut(place: Path) -> None:
    log = open_log(place, bytes_max=200)
    assert log.recovered == ()
    assert log.size_bytes == sum(sizes(place)), "it is dropped"
    assert await read_all(log.reader(1)) == await kept(place)
    log.append(events(10, 12))
    log.close()
    log = open_log(place)
    assert await read_all(log.reader(1)) == [*await kept(place), *events(10, 12)]
    log.close()


@pytest.mark.parametrize("cut_bytes", [1, 5, 18])
async def test_a_write_that_was_cut_off_in_the_room_is_a_torn_tail(cut_bytes: int, place: Path) -> None:
    last = segments(place)[-1]
    whole = last.read_bytes().rstrip(b"\0")
    last.write_bytes(whole[:-cut_bytes] + bytes(4096))
    log = open_log(place)
    (cut,) = log.recovered
    assert cut.cut_bytes < 100, "the room is not counted"
    assert await read_all(log.reader(1)) == (await kept(place))[:-1]
    log.close()


async def test_records_behind_a_hole_of_zeros_are_damage(place: Path) -> None:
    last = segments(place)[-1]
    data = bytearray(last.read_bytes())
    data[HEADER_BYTES : HEADER_BYTES + 20] = bytes(20)
    last.write_bytes(data)
    with pytest.raises(LogDamagedError, match="good frames follow"):
        open_log(place)
    with pytest.raises(LogDamagedError, match="good frames follow"):
        open_file_log_readonly(place)
    with pytest.raises(LogDamagedError):
        await read_all(TolerantFileView(place).reader(1))


async def test_room_behind_a_segment_that_was_just_ended_is_no_damage(place: Path) -> None:
    add_room(segments(place)[0])
    for reader in (open_file_log_readonly(place).reader(1), TolerantFileView(place).reader(1)):
        assert await read_all(reader) == await kept(place)
        reader.close()
    log = open_log(place)
    assert await read_all(log.reader(1)) == await kept(place)
    log.close()


async def test_room_in_the_place_of_a_last_record_is_damage(place: Path) -> None:
    first = segments(place)[0]
    data = first.read_bytes()
    first.write_bytes(data[: data.rindex(b"\xf5ILF")] + bytes(200))
    for reader in (open_file_log_readonly(place).reader(1), open_log(place).reader(1)):
        with pytest.raises(LogDamagedError, match="records are missing"):
            await read_all(reader)
        reader.close()


async def test_zeros_before_the_writers_own_end_are_damage(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    without_ring(log).append(events(1, 3))
    written_bytes = log.size_bytes
    log.append(events(4, 4))
    os.truncate(segments(tmp_path)[0], written_bytes - 3)
    os.truncate(segments(tmp_path)[0], log.size_bytes + 4096)
    with pytest.raises(LogDamagedError):
        await read_all(log.reader(1))
    log.close()


# --- beside the writer


async def test_a_view_follows_a_writer_into_its_room(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(events(1, 3))
    view = open_file_log_readonly(tmp_path)
    assert (view.size_bytes, view.torn_bytes, view.last_version) == (log.size_bytes, 0, 3)
    reader = view.reader(1)
    assert await reader.next_batch(10, 10_000) == events(1, 3)
    assert await reader.next_batch(10, 10_000) == []
    log.append([event(4, b"x")])
    assert await reader.next_batch(10, 10_000) == [event(4, b"x")]
    reader.close()
    tolerant = TolerantFileView(tmp_path)
    assert (tolerant.size_bytes, tolerant.find_last_version()) == (log.size_bytes, 4)
    log.close()


async def test_a_view_waits_for_the_rest_of_a_write_that_is_under_way(place: Path) -> None:
    last = segments(place)[-1]
    whole = last.read_bytes()
    reader = open_file_log_readonly(place).reader(1)
    end = len(whole.rstrip(b"\0"))
    begin = whole.rindex(b"\xf5ILF")
    records: list[object] = []
    for written in range(begin, end + 1):
        last.write_bytes(whole[:written] + bytes(len(whole) - written))
        while more := await reader.next_batch(100, 10_000):
            records += more
    assert records == await kept(place)
    reader.close()


def test_an_inspection_and_a_repair_see_nothing_wrong_with_room(place: Path) -> None:
    add_room(segments(place)[0])
    found = inspected_segments(place, patience_s=0)
    for segment in found:
        assert list(segment.blocks())
    assert damages_of(found) == []
    assert sum(segment.size_bytes for segment in found) == sum(sizes(place.with_name("written")))
    with prepared_repair(place, "now", dry_run=True) as repair:
        assert not repair.changes


def test_an_inspection_does_not_count_room_as_lost(place: Path) -> None:
    last = segments(place)[-1]
    last.write_bytes(last.read_bytes().rstrip(b"\0")[:-1] + bytes(4096))
    found = inspected_segments(place, patience_s=0)
    for segment in found:
        list(segment.blocks())
    (hole,) = found[-1].holes
    assert hole.end_bytes - hole.offset_bytes < 100


@pytest.mark.parametrize("written", [b"", b"\0\1", b"\1" + bytes(300_000) + b"\2", b"\1" + bytes(600_000)])
def test_the_written_end_is_behind_the_last_byte_that_is_not_zero(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"head" + written + bytes(700_000))
    fd = os.open(path, os.O_RDONLY)
    assert written_end_bytes(PlainFile(fd), 4, path.stat().st_size) == 4 + len(written.rstrip(b"\0"))
    os.close(fd)
