"""Damaged logs: cut where a torn write explains it, refused and untouched everywhere else (design rule 8)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest

from storage_backends.codec import FRAME_MAGIC, encode_batch
from storage_backends.conformance import event, events, read_all, versions
from storage_backends.errors import LogConfigurationError, LogDamagedError, LogError
from storage_backends.file import FileLog, open_file_log_readonly
from storage_backends.file.segment import encode_header, segment_name
from storage_backends.options import LogOptions
from storage_backends.records import Outcome, Record
from tests.storage_backends.damaging import contents, flip, frames, segments, truncate

OPTIONS = LogOptions(segment_bytes_max=200)
EXPECTED: list[Record] = [
    record for version in range(1, 10) for record in (event(version), Outcome(version, 200, 3, 4))
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of nine events with their outcomes in several segments."""
    place = tmp_path_factory.mktemp("sound") / "log"
    log = FileLog(f"file://{place}", place, OPTIONS)
    for version in range(1, 10):
        log.append([event(version), Outcome(version, 200, 3, 4)])
    log.close()
    assert len(segments(place)) >= 3
    return place


@pytest.fixture
def place(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "log"))


def torn_tail(place: Path) -> None:
    last = segments(place)[-1]
    truncate(last, last.stat().st_size - 3)


def flip_in_last_frame(place: Path) -> None:
    last = segments(place)[-1]
    flip(last, last.stat().st_size - 2)


def birth_without_header(place: Path) -> None:
    (place / segment_name(10)).write_bytes(b"")


def birth_with_half_a_header(place: Path) -> None:
    (place / segment_name(10)).write_bytes(encode_header(10, 200)[:10])


def birth_of_zeros(place: Path) -> None:
    (place / segment_name(10)).write_bytes(bytes(4096))


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (torn_tail, EXPECTED[:-1]),
        (flip_in_last_frame, EXPECTED[:-1]),
        (birth_with_half_a_header, EXPECTED),
        (birth_of_zeros, EXPECTED),
    ],
)
async def test_a_torn_end_is_cut_and_the_log_goes_on(
    damage: Callable[[Path], None], kept: list[Record], place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(place)
    log = FileLog("file:", place, OPTIONS)
    (cut,) = log.recovered
    assert cut.cut_bytes > 0
    assert cut.path in caplog.text
    assert await read_all(log.reader(1)) == kept
    log.append(events(10, 12))
    log.close()
    log = FileLog("file:", place, OPTIONS)
    assert log.recovered == ()
    assert await read_all(log.reader(1)) == [*kept, *events(10, 12)]
    log.close()


async def test_a_segment_without_a_record_is_removed_and_the_one_before_goes_on(place: Path) -> None:
    birth_without_header(place)
    (place / segment_name(11)).write_bytes(encode_header(11, 32))
    log = FileLog("file:", place, OPTIONS)
    assert (log.last_version, log.durable_version, log.recovered) == (9, 9, ())
    log.append(events(10, 10))
    assert await read_all(log.reader(1)) == [*EXPECTED, event(10)]
    log.close()


async def test_a_segment_torn_while_its_successor_was_born_is_cut(place: Path) -> None:
    torn_tail(place)
    (place / segment_name(10)).write_bytes(encode_header(10, 200) + FRAME_MAGIC)
    log = FileLog("file:", place, OPTIONS)
    assert len(log.recovered) == 2
    assert await read_all(log.reader(1)) == EXPECTED[:-1]
    log.append(events(10, 10))
    assert await read_all(log.reader(1)) == [*EXPECTED[:-1], event(10)]
    log.close()


async def test_a_last_segment_without_an_event_tells_the_last_version_by_its_name(tmp_path: Path) -> None:
    for number in range(3):
        log = FileLog("file:", tmp_path, LogOptions(segment_bytes_max=1))
        assert log.last_version == min(number, 1)
        log.append([event(1)] if number == 0 else [Outcome(1, 200, 3, 4)])
        log.close()
    assert [path.name for path in segments(tmp_path)] == [segment_name(1), segment_name(2)]


def flip_in_middle_of_last(place: Path) -> None:
    last = segments(place)[-1]
    flip(last, frames(last)[1] + 20)


def flip_in_length_of_last_segments_first_frame(place: Path) -> None:
    last = segments(place)[-1]
    flip(last, frames(last)[1] + 7, 0x80)


def duplicated_frame_at_the_end(place: Path) -> None:
    last = segments(place)[-1]
    data = last.read_bytes()
    *_, event_at, outcome_at = frames(last)
    last.write_bytes(data + data[event_at:outcome_at])


def gap_in_versions(place: Path) -> None:
    last = segments(place)[-1]
    last.write_bytes(last.read_bytes() + b"".join(encode_batch([event(11)], 10)[0]))


def newer_format(place: Path) -> None:
    last = segments(place)[-1]
    data = bytearray(last.read_bytes())
    data[8] = 2
    data[28:32] = google_crc32c.value(bytes(data[:28])).to_bytes(4, "little")
    last.write_bytes(data)


def damaged_header_of_last(place: Path) -> None:
    flip(segments(place)[-1], 13)


def renamed_last(place: Path) -> None:
    segments(place)[-1].rename(place / segment_name(77))


def foreign_first(place: Path) -> None:
    segments(place)[0].write_bytes(b"2026-01-01 INFO something else's log\n" * 9)


def foreign_last(place: Path) -> None:
    (place / segment_name(99)).write_bytes(b"2026-01-01 INFO something else's log\n" * 9)


def foreign_both(place: Path) -> None:
    for path in segments(place):
        path.write_bytes(b"something else")


def foreign_log_name(place: Path) -> None:
    (place / "000003.log").write_bytes(b"leveldb")


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (flip_in_middle_of_last, LogDamagedError, "good frames follow"),
        (flip_in_length_of_last_segments_first_frame, LogDamagedError, "good frames follow"),
        (duplicated_frame_at_the_end, LogDamagedError, "stands where event"),
        (gap_in_versions, LogDamagedError, "stands where event"),
        (newer_format, LogConfigurationError, "newer release"),
        (damaged_header_of_last, LogDamagedError, "header is damaged"),
        (renamed_last, LogDamagedError, "renamed"),
        (foreign_first, LogDamagedError, "not a segment"),
        (foreign_last, LogDamagedError, "not a segment"),
        (foreign_both, LogConfigurationError, "log verify --log file:.*else choose an empty directory"),
        (foreign_log_name, LogConfigurationError, "foreign"),
    ],
)
async def test_other_damage_is_refused_on_open_and_nothing_touched(
    damage: Callable[[Path], None], error: type[LogError], words: str, place: Path
) -> None:
    damage(place)
    before = contents(place)
    with pytest.raises(error, match=words) as caught:
        FileLog("file:", place, OPTIONS)
    assert str(place) in str(caught.value)
    assert contents(place) == before


def missing_middle(place: Path) -> None:
    segments(place)[1].unlink()


def flip_in_first(place: Path) -> None:
    first = segments(place)[0]
    flip(first, frames(first)[1] + 20)


def truncated_first(place: Path) -> None:
    torn = segments(place)[0]
    truncate(torn, torn.stat().st_size - 3)


def first_without_its_last_frame(place: Path) -> None:
    torn = segments(place)[0]
    truncate(torn, frames(torn)[-2])


def first_without_its_last_outcome(place: Path) -> None:
    torn = segments(place)[0]
    truncate(torn, frames(torn)[-1])


def short_header_in_middle(place: Path) -> None:
    truncate(segments(place)[1], 5)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (missing_middle, "follows: events 4 to 6 are missing"),
        (flip_in_first, "CRC-32C"),
        (truncated_first, "ends within a frame"),
        (first_without_its_last_frame, r"0001\.log at byte \d+: .* event 3 is missing"),
        (first_without_its_last_outcome, "records are missing"),
        (short_header_in_middle, "shorter than its header"),
    ],
)
async def test_damage_in_front_is_refused_by_the_reader_after_everything_before_it(
    damage: Callable[[Path], None], words: str, place: Path
) -> None:
    damage(place)
    before = contents(place)
    log = FileLog("file:", place, OPTIONS)
    assert log.last_version == 9
    reader = log.reader(1)
    found: list[Record] = []
    with pytest.raises(LogDamagedError, match=words):  # noqa: PT012
        while batch := await reader.next_batch(1, 1 << 20):
            found += batch
    assert found == EXPECTED[: len(found)]
    with pytest.raises(LogDamagedError, match=words):
        await reader.next_batch(1, 1 << 20)
    reader.close()
    log.close()
    assert contents(place) == before


async def open_and_read(place: Path) -> list[Record] | LogError:
    """Return what a start and a full read deliver, or the refusal; anything else is raised."""
    try:
        log = FileLog("file:", place, OPTIONS)
    except LogError as refusal:
        return refusal
    try:
        found = await read_all(log.reader(log.first_version))
        assert versions(found) == list(range(log.first_version, log.last_version + 1))
        return found
    except LogError as refusal:
        return refusal
    finally:
        log.close()


async def test_every_flipped_byte_is_refused_or_cut_and_never_believed(sound: Path, tmp_path: Path) -> None:
    cut = 0
    for number, segment in enumerate(segments(sound)):
        is_last = number == len(segments(sound)) - 1
        for at in range(segment.stat().st_size):
            for bits in (0x01, 0x80, 0xFF):
                place = Path(shutil.copytree(sound, tmp_path / "log"))
                flip(place / segment.name, at, bits)
                found = await open_and_read(place)
                if not isinstance(found, LogError):
                    assert is_last
                    assert found == EXPECTED[:-1], (segment.name, at)
                    cut += 1
                shutil.rmtree(place)
    assert cut


async def test_every_truncation_is_refused_or_cut_at_a_whole_frame(sound: Path, tmp_path: Path) -> None:
    for number, segment in enumerate(segments(sound)):
        is_last = number == len(segments(sound)) - 1
        for length_bytes in range(segment.stat().st_size):
            place = Path(shutil.copytree(sound, tmp_path / "log"))
            truncate(place / segment.name, length_bytes)
            found = await open_and_read(place)
            if is_last:
                assert not isinstance(found, LogError)
                assert found == EXPECTED[: len(found)]
            else:
                assert isinstance(found, LogError)
            shutil.rmtree(place)


async def test_a_body_made_of_frame_magics_does_not_hold_up_the_start(place: Path) -> None:
    last = segments(place)[-1]
    body = (FRAME_MAGIC + (30_000).to_bytes(4, "little")) * 10_000
    torn = b"".join(encode_batch([event(10, body)], 9)[0])[:-1]
    last.write_bytes(last.read_bytes() + torn)
    with pytest.raises(LogDamagedError, match="can't be judged"):
        FileLog("file:", place, OPTIONS)


async def test_the_view_takes_an_incomplete_end_for_the_end_and_changes_nothing(place: Path) -> None:
    torn_tail(place)
    before = contents(place)
    view = open_file_log_readonly(place)
    assert view.last_version == 9
    assert view.torn_bytes > 0
    assert await read_all(view.reader(1)) == EXPECTED[:-1]
    assert contents(place) == before
