"""A loss of power may leave holes among what was never flushed; that is a torn end, and anything else is damage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage_backends.conformance import event, read_all, synced, versions
from storage_backends.errors import LogDamagedError
from storage_backends.file import FileLog
from storage_backends.file.recovery import SECTOR_BYTES
from storage_backends.options import LogOptions

PAGE_BYTES = 4096


async def after_power_loss(place: Path) -> tuple[Path, int, list[int]]:
    """Return the segment of a log of which events 1 to 20 were flushed and 21 to 60 were not, as room and all.

    Also the offset up to which it was flushed, and that of each later event's batch.
    """
    log = FileLog("file:", place, LogOptions())
    for version in range(1, 21):
        log.append([event(version, os.urandom(700))])
    assert await synced(log) is None
    flushed_bytes = log._catalogue.last.end_bytes
    begins = []
    for version in range(21, 61):
        begins.append(log._catalogue.last.end_bytes)
        log.append([event(version, os.urandom(700))])
    (segment,) = place.glob("*.log")  # noqa: ASYNC240
    data = segment.read_bytes()
    log.close()
    segment.write_bytes(data)
    return segment, flushed_bytes, begins


def erase(segment: Path, offset_bytes: int, length_bytes: int = PAGE_BYTES) -> None:
    data = bytearray(segment.read_bytes())
    data[offset_bytes : offset_bytes + length_bytes] = bytes(length_bytes)
    segment.write_bytes(data)


async def test_a_page_that_was_never_flushed_may_be_missing_before_others(tmp_path: Path) -> None:
    """Whichever page it is, everything before it is kept, and everything that was acknowledged is before it."""
    segment, flushed_bytes, begins = await after_power_loss(tmp_path)
    whole = segment.read_bytes()
    first_page = -(-flushed_bytes // PAGE_BYTES) * PAGE_BYTES
    for page in (flushed_bytes, *range(first_page, begins[-1], PAGE_BYTES)):
        segment.write_bytes(whole)
        erase(segment, page, PAGE_BYTES - page % PAGE_BYTES)
        log = FileLog("file:", tmp_path, LogOptions())
        assert log.recovered, page
        assert 20 + max(0, sum(1 for begin in begins if begin < page) - 1) == log.last_version
        assert versions(await read_all(log.reader(1))) == list(range(1, log.last_version + 1))
        log.close()


async def test_a_hole_in_what_was_flushed_is_damage(tmp_path: Path) -> None:
    segment, flushed_bytes, _ = await after_power_loss(tmp_path)
    whole = segment.read_bytes()
    for page in range(SECTOR_BYTES, flushed_bytes - SECTOR_BYTES, PAGE_BYTES):
        segment.write_bytes(whole)
        erase(segment, page, SECTOR_BYTES)
        damaged = segment.read_bytes()
        with pytest.raises(LogDamagedError, match="good frames follow"):
            FileLog("file:", tmp_path, LogOptions())
        assert segment.read_bytes() == damaged


async def test_a_flipped_bit_in_what_was_not_flushed_is_damage(tmp_path: Path) -> None:
    segment, _, begins = await after_power_loss(tmp_path)
    data = bytearray(segment.read_bytes())
    data[begins[10] + 100] ^= 1
    segment.write_bytes(data)
    with pytest.raises(LogDamagedError, match="good frames follow"):
        FileLog("file:", tmp_path, LogOptions())


async def test_a_hole_in_a_log_that_was_closed_is_damage(tmp_path: Path) -> None:
    """A close flushes everything, and leaves no room behind the end."""
    segment, _, begins = await after_power_loss(tmp_path)
    FileLog("file:", tmp_path, LogOptions()).close()
    erase(segment, -(-begins[10] // PAGE_BYTES) * PAGE_BYTES)
    with pytest.raises(LogDamagedError, match="good frames follow"):
        FileLog("file:", tmp_path, LogOptions())
