"""The file log's own promises: segments, trimming, permissions, the lock, a killed writer, a view beside the writer."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from storage_backends.conformance import event, events, read_all, synced, versions
from storage_backends.errors import LogConfigurationError, LogGapError, LogLockedError
from storage_backends.file import FileLog, open_file_log_readonly
from storage_backends.file import reader as reader_module
from storage_backends.options import LogOptions
from storage_backends.records import Event, Outcome
from tests.storage_backends.conftest import without_ring

KIBIBYTE = 1024
WRITER = """
import sys
from pathlib import Path
from storage_backends import open_log
from storage_backends.conformance import event
log = open_log(f"file://{sys.argv[1]}", segment_bytes_max=20_000)
while True:
    version = log.last_version + 1
    log.append([event(version, b"x" * (version % 700)) for version in range(version, version + 7)])
    print(log.last_version, flush=True)
"""


def open_log(place: Path, segment_bytes_max: int = 64 * KIBIBYTE) -> FileLog:
    return without_ring(FileLog(f"file://{place}", place, LogOptions(segment_bytes_max=segment_bytes_max)))


def segments(place: Path) -> list[Path]:
    return sorted(place.glob("*.log"))


def test_directory_and_files_are_private(tmp_path: Path) -> None:
    open_log(tmp_path / "log").close()
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "log").iterdir()} == {0o600}


def test_a_missing_parent_is_refused_because_its_volume_may_be_absent(tmp_path: Path) -> None:
    with pytest.raises(LogConfigurationError, match="mounted"):
        open_log(tmp_path / "volume" / "log")
    assert not (tmp_path / "volume").exists()


def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(LogConfigurationError):
        open_log(tmp_path / "log")


def test_a_second_writer_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    with pytest.raises(LogLockedError, match=rf"process {os.getpid()}\b"):
        open_log(tmp_path / "log")
    log.close()


async def test_segments_are_named_by_their_first_version_and_size_is_counted(tmp_path: Path) -> None:
    log = open_log(tmp_path, 2000)
    for version in range(1, 101):
        log.append([event(version, b"x" * 100)])
        if version % 5 == 0:
            assert await synced(log) is None
    paths = segments(tmp_path)
    assert len(paths) > 5
    assert log.size_bytes == sum(len(path.read_bytes().rstrip(b"\0")) for path in paths)
    for path in paths:
        view = open_file_log_readonly(tmp_path)
        assert versions(await read_all(view.reader(int(path.stem))))[0] <= int(path.stem)
    log.close()


async def test_trim_removes_whole_segments_and_never_the_last(tmp_path: Path) -> None:
    log = open_log(tmp_path, 2000)
    for version in range(1, 101):
        log.append([event(version, b"x" * 100)])
        await synced(log)
    log.trim(50)
    assert 40 < log.first_version <= 50
    log.append([event(101, b"x")])
    assert await synced(log) is None
    assert int(segments(tmp_path)[0].stem) == log.first_version
    assert log.size_bytes == sum(len(path.read_bytes().rstrip(b"\0")) for path in segments(tmp_path))
    assert versions(await read_all(log.reader(50)))[-1] == 101
    log.trim(1000)
    log.close()
    assert len(segments(tmp_path)) == 1
    log = open_log(tmp_path)
    assert (log.first_version, log.last_version) == (int(segments(tmp_path)[0].stem), 101)
    log.close()


async def test_a_reader_whose_segments_are_trimmed_is_told_of_the_gap(tmp_path: Path) -> None:
    log = open_log(tmp_path, 1)
    for version in range(1, 6):
        log.append([event(version)])
        await synced(log)
    reader, unopened = log.reader(1), log.reader(2)
    assert versions(await reader.next_batch(1, 1)) == [1]
    log.trim(5)
    log.append(events(6, 6))
    await synced(log)
    for late in (reader, unopened):
        with pytest.raises(LogGapError, match="trimmed"):
            await late.next_batch(1, 1)
        late.close()
    log.close()


async def test_the_sparse_index_leads_to_every_version(tmp_path: Path) -> None:
    log = open_log(tmp_path, 1 << 30)
    for first in range(1, 2001, 10):
        log.append([event(version, b"x" * 500) for version in range(first, first + 10)])
        log.append([Outcome(first, 200, 1, 2)])
    place = log.reader(1990)._segment.index.place(1990)
    assert place[1] > 900_000, "an index that leads nowhere would be slow, not wrong"
    for reopened in (False, True):
        if reopened:
            log.close()
            log = open_log(tmp_path, 1 << 30)
        for version in (1, 2, 999, 1000, 1001, 1990, 1991, 2000):
            found = versions(await read_all(log.reader(version), 10_000, 1 << 30))
            assert found == list(range(version, 2001))
    log.close()


async def test_an_event_larger_than_a_block_is_read_whole(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    large = Event(1, 1, b"head", os.urandom(3 << 20))
    log.append([large, event(2)])
    assert await read_all(log.reader(1)) == [large, event(2)]
    log.close()


async def test_a_view_follows_a_live_log_without_its_lock(tmp_path: Path) -> None:
    log = open_log(tmp_path, 2000)
    log.append(events(1, 3))
    view = open_file_log_readonly(tmp_path)
    assert (view.first_version, view.last_version) == (1, 3)
    reader = view.reader(1)
    assert await reader.next_batch(100, 1 << 20) == events(1, 3)
    seen = []
    for version in range(4, 100):
        log.append([event(version, b"x" * 100)])
        await synced(log)
        while batch := await reader.next_batch(100, 1 << 20):
            seen += versions(batch)
    assert seen == list(range(4, 100))
    assert len(segments(tmp_path)) > 3
    reader.close()
    log.close()


async def test_a_view_sees_no_half_written_frame_and_no_newborn_segment(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.append(events(1, 2))
    log.close()
    whole = segments(tmp_path / "log")[0].read_bytes()
    for length_bytes in range(len(whole) - 30, len(whole) + 1):
        segments(tmp_path / "log")[0].write_bytes(whole[:length_bytes])
        (tmp_path / "log" / f"{3:020}.log").write_bytes(b"")
        view = open_file_log_readonly(tmp_path / "log")
        assert versions(await read_all(view.reader(1))) == list(range(1, view.last_version + 1))
    assert view.last_version == 2


def test_a_view_of_nothing_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(LogConfigurationError):
            open_file_log_readonly(place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batches", [1, 20, 200])
async def test_a_killed_writer_loses_nothing_that_append_had_taken(batches: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "log")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert writer.stdout
    try:
        reported = [int(writer.stdout.readline()) for _ in range(batches)][-1]
        with pytest.raises(LogLockedError, match=str(writer.pid)):
            open_log(tmp_path / "log")
    finally:
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.stdout.close()
        writer.wait()
    reported = max([reported, *map(int, rest)])
    log = open_log(tmp_path / "log")
    assert log.last_version >= reported
    assert log.durable_version == log.last_version
    expected = [event(version, b"x" * (version % 700)) for version in range(1, log.last_version + 1)]
    assert await read_all(log.reader(1)) == expected
    log.append(events(log.last_version + 1, log.last_version + 1))
    log.close()


async def test_skipping_lets_others_have_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(tmp_path, 1 << 30)
    log.append([event(version, b"x" * 10_000) for version in range(1, 201)])
    log.append([Outcome(200, 200, 1, 2)])
    turns = 0

    async def turn(_: float) -> None:
        nonlocal turns
        turns += 1

    monkeypatch.setattr(reader_module.asyncio, "sleep", turn)
    assert versions(await read_all(log.reader(200))) == [200]
    assert turns >= 5
    log.close()
