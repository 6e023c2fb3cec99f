"""Compressed segments: the same log to every reader, whole at each step of a crash, refused where they are damaged."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from interceptor.logview.verification import verify_directory
from storage_backends import open_log
from storage_backends.conformance import event, read_all, synced, versions
from storage_backends.errors import LogConfigurationError, LogDamagedError, LogError
from storage_backends.file import FileLog, open_file_log_readonly
from storage_backends.file.compressed import CompressedFile
from storage_backends.file.compression import Compression
from storage_backends.file.repair import prepared_repair
from storage_backends.options import LogOptions
from storage_backends.records import Outcome, Record
from tests.storage_backends.conftest import without_ring

if TYPE_CHECKING:
    from tests.storage_backends.conftest import FaultyFileSystem

OPTIONS = LogOptions(segment_bytes_max=200, compression="zstd")
EXPECTED: list[Record] = [
    record for version in range(1, 13) for record in (event(version), Outcome(version, 200, 3, 4))
]


def opened(place: Path, faulty: FaultyFileSystem | None = None, options: LogOptions = OPTIONS) -> FileLog:
    return without_ring(FileLog("file:", place, options, faulty))


async def compressed(log: FileLog) -> None:
    """Sync, and wait until nothing more is to be compressed."""
    assert await synced(log) is None
    compression = log._compression
    assert compression is not None
    while compression.busy_with is not None:
        await asyncio.sleep(0)
        compression.go_on(log.durable_version)


async def fill(log: FileLog) -> None:
    for version in range(log.last_version + 1, 13):
        log.append([event(version), Outcome(version, 200, 3, 4)])


@pytest.fixture
async def place(tmp_path: Path) -> Path:
    """A log of twelve events whose finished segments are compressed, beside the same one in clear."""
    plain = opened(tmp_path / "plain", options=LogOptions(segment_bytes_max=200))
    await fill(plain)
    plain.close()
    log = opened(tmp_path / "log")
    await fill(log)
    await compressed(log)
    log.close()
    return tmp_path / "log"


def segments(place: Path, suffix: str) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.name.endswith(suffix))


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("*.log*"))


async def test_finished_segments_are_compressed_once_the_next_one_is_durable(tmp_path: Path) -> None:
    log = opened(tmp_path)
    await fill(log)
    assert not any(name.endswith(".zst") for name in names(tmp_path))
    reader = log.reader(1)
    first = await reader.next_batch(1, 1)
    await compressed(log)
    *finished, last = [name.endswith(".zst") for name in names(tmp_path)]
    assert (len(finished) >= 3, all(finished), last) == (True, True, False)
    assert first + await read_all(reader) == EXPECTED
    assert await read_all(log.reader(1)) == EXPECTED
    assert (
        log.size_bytes
        == sum(path.stat().st_size for path in segments(tmp_path, ".zst")) + log._catalogue.last.end_bytes
    )
    log.close()


async def test_it_is_the_same_log_to_every_reader_and_to_zstd(place: Path) -> None:
    for version in range(1, 14):
        log = opened(place)
        found = await read_all(log.reader(version))
        assert found == EXPECTED[len(EXPECTED) - len(found) :]
        assert versions(found) == list(range(version, 13))
        log.close()
    view = open_file_log_readonly(place)
    assert await read_all(view.reader(1)) == EXPECTED
    verification = verify_directory(place, lambda _more, _total: None)
    assert (verification.damages, verification.events, verification.records) == ([], 12, 24)
    for path in segments(place, ".zst"):
        stream = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes()), read_across_frames=True)
        assert stream.read() == (place.with_name("plain") / path.name.removesuffix(".zst")).read_bytes()


async def test_a_segment_of_many_blocks_is_sought_in_and_read(tmp_path: Path) -> None:
    """Seeking reads one block, whether the segment was written by this process or by a former one."""
    options = LogOptions(segment_bytes_max=1 << 20)
    for first, chosen in ((1, options), (401, LogOptions(segment_bytes_max=1 << 20, compression="zstd"))):
        log = opened(tmp_path, options=chosen)
        for version in range(first, first + 400):
            log.append([event(version, os.urandom(5_000))])
        if chosen is not options:
            log._compression.go_on(log.durable_version)  # type: ignore[union-attr]
            await compressed(log)
        log.close()
    paths = segments(tmp_path, ".zst")
    assert len(paths) == 3
    for path in paths:
        file = CompressedFile(path)
        assert len(file._blocks) >= 3
        middle = file._blocks[2].next_version
        assert file.place(middle + 1) == (middle, file._blocks[2].offset_bytes)
        file.close()
        log = opened(tmp_path)
        assert versions(await read_all(log.reader(middle + 1)))[0] == middle + 1
        log.close()


def half_written(place: Path, plain: Path) -> None:
    """Killed while the compressed file was being written."""
    whole = segments(place, ".zst")[0]
    shutil.copy(plain, place / plain.name)
    whole.with_name(whole.name + ".new").write_bytes(whole.read_bytes()[:50])
    whole.unlink()


def renamed(place: Path, plain: Path) -> None:
    """Killed before the uncompressed file was removed."""
    shutil.copy(plain, place / plain.name)


def torn_and_renamed(place: Path, plain: Path) -> None:
    """The same, and the disk had lied about the flush."""
    renamed(place, plain)
    whole = segments(place, ".zst")[0]
    whole.write_bytes(whole.read_bytes()[:50])


@pytest.mark.parametrize("crash", [half_written, renamed, torn_and_renamed])
async def test_a_crash_at_any_step_leaves_one_whole_copy(crash: object, place: Path) -> None:
    plain = segments(place.with_name("plain"), ".log")[0]
    assert callable(crash)
    crash(place, plain)
    assert await read_all(open_file_log_readonly(place).reader(1)) == EXPECTED
    assert verify_directory(place, lambda _more, _total: None).damages == []
    log = opened(place)
    assert plain.name in names(place)
    assert not any(name.startswith(plain.name + ".") for name in names(place))
    assert await read_all(log.reader(1)) == EXPECTED
    log.append([event(13)])
    await compressed(log)
    log.close()
    assert plain.name + ".zst" in names(place)
    assert await read_all(open_file_log_readonly(place).reader(1)) == [*EXPECTED, event(13)]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("open", errno.EMFILE),
        ("pwrite", errno.ENOSPC),
        ("fdatasync", errno.EIO),
        ("fsync", errno.EIO),
        ("unlink", errno.EIO),
    ],
)
async def test_what_cannot_be_compressed_stays_as_it_is_and_the_log_goes_on(
    call: str, code: int, tmp_path: Path, faulty: FaultyFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(tmp_path, options=LogOptions(segment_bytes_max=200))
    await fill(log)
    log.close()
    log = opened(tmp_path)
    log._compression = Compression(log._catalogue, log._directory_fd, faulty, "test")
    faulty.fail_next(call, code)
    log.append([event(13)])
    await compressed(log)
    assert "stays uncompressed" in caplog.text
    assert await read_all(log.reader(1)) == [*EXPECTED, event(13)]
    log.close()
    log = opened(tmp_path)
    assert await read_all(log.reader(1)) == [*EXPECTED, event(13)]
    log.close()


async def outcome_of(place: Path) -> list[Record] | LogError:
    try:
        return await read_all(open_file_log_readonly(place).reader(1))
    except LogError as refusal:
        return refusal


async def test_every_flipped_bit_and_every_truncation_of_a_compressed_segment_is_refused(
    place: Path, tmp_path: Path
) -> None:
    whole = segments(place, ".zst")[1]
    data = whole.read_bytes()
    refused = 0
    for at in range(len(data)):
        for damaged in (*(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for bit in range(8)), data[:at]):
            whole.write_bytes(damaged)
            found = await outcome_of(place)
            assert isinstance(found, LogError), at
            refused += 1
    assert refused == 9 * len(data)
    whole.write_bytes(data)
    assert await outcome_of(place) == EXPECTED


@pytest.mark.parametrize("at", [5, -3])
async def test_a_damaged_compressed_segment_is_reported_and_repaired(at: int, place: Path) -> None:
    whole = segments(place, ".zst")[1]
    data = bytearray(whole.read_bytes())
    data[at] ^= 4
    whole.write_bytes(data)
    verification = verify_directory(place, lambda _more, _total: None)
    assert len(verification.damages) >= 1
    assert "compressed" in str(verification.damages[0])
    with prepared_repair(place, "now", dry_run=False) as repair:
        repair.apply()
    assert verify_directory(place, lambda _more, _total: None).damages == []
    kept = await outcome_of(place)
    assert isinstance(kept, list)
    assert kept == EXPECTED[: len(kept)]
    assert len(kept) >= 4
    assert bytes(data) in [path.read_bytes() for path in segments(place, "damaged-now")]


async def test_a_compressed_segment_that_has_become_the_last_is_unpacked(place: Path) -> None:
    segments(place, ".log")[-1].unlink()
    last = segments(place, ".zst")[-1].name.removesuffix(".zst")
    log = opened(place)
    assert last in names(place)
    assert last + ".zst" not in names(place)
    number = log.last_version
    log.append([event(number + 1)])
    assert await read_all(log.reader(1)) == [*EXPECTED[: 2 * number], event(number + 1)]
    log.close()


async def test_trimming_takes_compressed_segments_too(place: Path) -> None:
    log = opened(place)
    reader = log.reader(1)
    first = await reader.next_batch(1, 1)
    log.trim(8)
    assert await synced(log) is None
    log.append([event(13)])
    assert await synced(log) is None
    assert log.first_version > 1
    assert int(names(place)[0][:20]) == log.first_version
    assert first == EXPECTED[:1]
    log.close()
    log = opened(place)
    assert versions(await read_all(log.reader(8))) == list(range(8, 14))
    log.close()
    reader.close()


async def test_damage_in_a_compressed_segment_names_the_file_that_is_there(place: Path) -> None:
    """Rule 8: who is told of `N.log` looks for it in vain."""
    damaged = place / names(place)[0]
    assert damaged.suffix == ".zst"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    log = opened(place)
    with pytest.raises(LogDamagedError, match=rf"{damaged.name} at byte 0: .*index"):
        await read_all(log.reader(1))
    log.close()


async def test_closing_does_not_wait_for_what_is_being_compressed(tmp_path: Path) -> None:
    log = opened(tmp_path, options=LogOptions(segment_bytes_max=1 << 20, compression="zstd"))
    for version in range(1, 401):
        log.append([event(version, os.urandom(5_000))])
    assert await synced(log) is None
    log.close()
    log = opened(tmp_path)
    assert not [name for name in names(tmp_path) if name.endswith(".new")]
    assert versions(await read_all(log.reader(1))) == list(range(1, 401))
    log.close()


def test_it_goes_with_clear_file_logs_only(tmp_path: Path) -> None:
    with pytest.raises(LogConfigurationError, match="file logs"):
        open_log("memory:", compression="zstd")
    with pytest.raises(LogConfigurationError, match="choose none or zstd"):
        open_log(f"file:{tmp_path}", compression="gzip")
    with pytest.raises(LogConfigurationError, match="leave one"):
        open_log(f"file:{tmp_path}", compression="zstd", key_file=tmp_path / "keys")
    assert list(tmp_path.iterdir()) == []
