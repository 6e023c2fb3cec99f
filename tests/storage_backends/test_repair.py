"""Repair: each named damage, then reopen, append, read again; nothing is discarded (design rule 8)."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest

from storage_backends.codec import encode_batch
from storage_backends.conformance import event, read_all, versions
from storage_backends.errors import LogConfigurationError, LogError, LogLockedError
from storage_backends.file import FileLog
from storage_backends.file.inspection import damages_of, inspected_segments
from storage_backends.file.repair import Repair, prepared_repair
from storage_backends.file.segment import HEADER_BYTES, encode_header, segment_name
from storage_backends.options import LogOptions
from storage_backends.records import Event, Outcome
from tests.storage_backends.damaging import flip, frames, segments

OPTIONS = LogOptions(segment_bytes_max=300)
LAST = 20
FACTS = {
    "incarnation": "socket:1",
    "clean_stop": LAST,
    "quarantined": [2, LAST],
    "checkpoints": [{"id": "mark-1", "version": 3}, {"id": "mark-2", "version": LAST}],
    "other": "kept",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty events, each with its outcome in a frame of its own, in several segments, and facts."""
    place = tmp_path_factory.mktemp("sound") / "log"
    log = FileLog("file:", place, OPTIONS)
    for version in range(1, LAST + 1):
        log.append([event(version)])
        log.append([Outcome(version, 200, 3, 4)])
    log.store_facts(FACTS)
    log.close()
    assert len(segments(place)) >= 4
    return place


@pytest.fixture
def place(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "log"))


def frames_of(path: Path, kind: int) -> list[int]:
    """Return the offsets of the events (0) or outcomes (1), of which each frame here holds one."""
    data = path.read_bytes()
    return [at for at in frames(path) if data[at + 12 : at + 14] == bytes((0x95, kind))]


def truncate(path: Path, length_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:length_bytes])


def first_of(path: Path) -> int:
    return int(path.name.removesuffix(".log"))


def missing_middle(place: Path) -> int:
    lost = segments(place)[1]
    lost.unlink()
    return first_of(lost) - 1


def flip_in_event(place: Path) -> int:
    middle = segments(place)[1]
    flip(middle, frames_of(middle, 0)[1] + 20)
    return first_of(middle)


def flip_in_first_event_of_segment(place: Path) -> int:
    middle = segments(place)[1]
    flip(middle, frames_of(middle, 0)[0] + 20)
    return first_of(middle) - 1


def flip_in_frame_length(place: Path) -> int:
    middle = segments(place)[1]
    flip(middle, frames_of(middle, 0)[1] + 4)
    return first_of(middle)


def flip_in_outcome(place: Path) -> int:
    middle = segments(place)[1]
    flip(middle, frames_of(middle, 1)[1] + 14)
    return LAST


def flip_in_last_outcome_of_segment(place: Path) -> int:
    middle = next(path for path in segments(place) if frames_of(path, 1)[-1] == frames(path)[-1])
    flip(middle, frames(middle)[-1] + 14)
    return LAST


def torn_frame_before_good_ones(place: Path) -> int:
    middle = segments(place)[2]
    data, at = middle.read_bytes(), frames_of(middle, 0)[1]
    behind = next(offset for offset in frames(middle) if offset > at)
    middle.write_bytes(data[: at + 20] + data[behind:])
    return first_of(middle)


def torn_end_of_sealed_segment(place: Path) -> int:
    middle = segments(place)[1]
    truncate(middle, frames_of(middle, 0)[1] + 9)
    return first_of(middle)


def torn_tail(place: Path) -> int:
    last = segments(place)[-1]
    truncate(last, frames_of(last, 0)[-1] + 20)
    return LAST - 1


def outcomes_missing_at_segment_end(place: Path) -> int:
    middle = next(path for path in segments(place) if frames_of(path, 1)[-1] == frames(path)[-1])
    truncate(middle, frames(middle)[-1])
    return LAST


def bad_header(place: Path) -> int:
    flip(segments(place)[1], 3)
    return LAST


def bad_header_of_first(place: Path) -> int:
    flip(segments(place)[0], 0)
    return LAST


def bad_header_of_last(place: Path) -> int:
    flip(segments(place)[-1], 20)
    return LAST


def lost_last_segment(place: Path) -> int:
    lost = segments(place)[-1]
    lost.unlink()
    return first_of(lost) - 1


def duplicated_event(place: Path) -> int:
    middle = segments(place)[1]
    data, at = middle.read_bytes(), frames_of(middle, 0)[0]
    behind = next(offset for offset in frames(middle) if offset > at)
    middle.write_bytes(data[:behind] + data[at:behind] + data[behind:])
    return LAST


def segment_of_zeros(place: Path) -> int:
    middle = segments(place)[1]
    middle.write_bytes(bytes(middle.stat().st_size))
    return first_of(middle) - 1


def first_event_gone(place: Path) -> int:
    first = segments(place)[0]
    flip(first, frames(first)[0] + 20)
    return 0


def stray_copy(place: Path) -> int:
    (place / segment_name(2)).write_bytes(encode_header(2, 0) + b"".join(encode_batch([event(2)], 1)[0]))
    return LAST


DAMAGES = [
    missing_middle, flip_in_event, flip_in_first_event_of_segment, flip_in_frame_length, flip_in_outcome,
    flip_in_last_outcome_of_segment, torn_frame_before_good_ones, torn_end_of_sealed_segment, torn_tail,
    outcomes_missing_at_segment_end, bad_header, bad_header_of_first, bad_header_of_last, lost_last_segment,
    duplicated_event, segment_of_zeros, first_event_gone, stray_copy,
]  # fmt: skip


def repaired(place: Path) -> Repair:
    with prepared_repair(place, "T", dry_run=False) as repair:
        assert repair.changes
        repair.apply()
        return repair


def is_whole(place: Path) -> bool:
    read = inspected_segments(place, patience_s=0)
    for segment in read:
        for _ in segment.blocks():
            pass
    return not damages_of(read)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_the_longest_good_prefix_is_kept_and_the_log_goes_on(damage: Callable[[Path], int], place: Path) -> None:
    last = damage(place)
    before = {path.name: path.read_bytes() for path in segments(place)}
    with prepared_repair(place, "T", dry_run=True) as planned:
        assert planned.plan.last_version == last
    assert before == {path.name: path.read_bytes() for path in segments(place)}
    plan = repaired(place).plan
    assert plan.last_version == last
    assert plan.loses_events == (last < LAST)
    assert is_whole(place)
    log = FileLog("file:", place, OPTIONS)
    assert log.recovered == ()
    assert versions(await read_all(log.reader(1))) == list(range(1, last + 1))
    log.append([event(last + 1), Outcome(last + 1, 200, 3, 4)])
    log.close()
    log = FileLog("file:", place, OPTIONS)
    records = await read_all(log.reader(1))
    assert [record for record in records if record == event(last + 1)]
    assert versions(records) == list(range(1, last + 2))
    log.close()
    with prepared_repair(place, "U", dry_run=False) as again:
        assert not again.changes


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_byte_is_discarded(damage: Callable[[Path], int], place: Path) -> None:
    damage(place)
    before = {path.name: path.read_bytes() for path in segments(place)}
    repaired(place)
    for name, data in before.items():
        now = (place / name).read_bytes() if (place / name).exists() else b""
        aside = [path.read_bytes() for path in sorted(place.glob(f"{name}.*"))]
        assert data in (now, *aside, *(now + tail for tail in aside))
    assert not list(place.glob("*.repairing"))


@pytest.mark.parametrize("damage", DAMAGES)
async def test_facts_beyond_the_end_are_dropped(damage: Callable[[Path], int], place: Path) -> None:
    last = damage(place)
    plan = repaired(place).plan
    log = FileLog("file:", place, OPTIONS)
    facts = log.load_facts()
    log.close()
    if last == LAST:
        assert facts == FACTS
        assert not plan.dropped_facts
        return
    assert facts == {
        "other": "kept",
        "quarantined": [2] if last >= 2 else [],
        "checkpoints": [{"id": "mark-1", "version": 3}] if last >= 3 else [],
    }
    assert any("incarnation socket:1" in text for text in plan.dropped_facts)
    assert plan.lost_until == LAST


def test_facts_that_cannot_be_read_are_set_aside(place: Path) -> None:
    (place / "FACTS.json").write_text("{")
    repaired(place)
    assert (place / "FACTS.json.damaged-T").read_text() == "{"
    log = FileLog("file:", place, OPTIONS)
    assert log.load_facts() == {}
    log.close()


def test_a_sound_log_needs_no_repair(place: Path) -> None:
    with prepared_repair(place, "T", dry_run=False) as repair:
        assert not repair.changes


def test_a_torn_birth_is_no_loss(place: Path) -> None:
    (place / segment_name(LAST + 1)).write_bytes(b"")
    plan = repaired(place).plan
    assert not plan.loses_events
    assert is_whole(place)


async def test_a_trimmed_log_keeps_its_numbers_even_without_an_event(place: Path) -> None:
    for path in segments(place)[:-1]:
        path.unlink()
    only = segments(place)[0]
    truncate(only, HEADER_BYTES + 5)
    plan = repaired(place).plan
    assert plan.first_version == first_of(only)
    log = FileLog("file:", place, OPTIONS)
    assert log.last_version == first_of(only) - 1
    log.append([event(first_of(only))])
    assert versions(await read_all(log.reader(first_of(only)))) == [first_of(only)]
    log.close()


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_log_in_use_is_refused(place: Path, dry_run: bool) -> None:
    log = FileLog("file:", place, OPTIONS)
    with pytest.raises(LogLockedError), prepared_repair(place, "T", dry_run=dry_run):
        pass
    log.close()


def test_a_newer_format_is_no_damage(place: Path) -> None:
    header = bytearray(segments(place)[0].read_bytes())
    header[8] = 9
    header[28:32] = google_crc32c.value(bytes(header[:28])).to_bytes(4, "little")
    segments(place)[0].write_bytes(header)
    with pytest.raises(LogConfigurationError, match="newer release"), prepared_repair(place, "T", dry_run=False):
        pass


def test_what_only_looks_like_a_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / segment_name(1)).write_bytes(b"a log of something else, line by line\n" * 9)
    with pytest.raises(LogConfigurationError, match="another program"), prepared_repair(tmp_path, "T", dry_run=False):
        pass
    (tmp_path / "app.log").touch()
    with pytest.raises(LogConfigurationError, match="foreign"), prepared_repair(tmp_path, "T", dry_run=False):
        pass


@pytest.mark.parametrize("stop_at", range(1, 12))
@pytest.mark.parametrize("damage", [flip_in_outcome, flip_in_event, bad_header])
def test_a_repair_that_was_cut_off_is_finished_by_a_second_one(
    damage: Callable[[Path], int], stop_at: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = damage(place)
    calls = 0

    def failing(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise OSError(5, "Input/output error")
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patched:
        for name in ("rename", "replace", "fsync", "truncate"):
            patched.setattr(f"storage_backends.file.repair.os.{name}", failing(getattr(os, name)))
        with prepared_repair(place, "T", dry_run=False) as repair, contextlib.suppress(LogError):
            repair.apply()
    with prepared_repair(place, "U", dry_run=False) as again:
        assert again.plan.last_version == last
        again.apply()
    assert is_whole(place)


def damage_at_random(place: Path, chance: random.Random) -> None:
    path = chance.choice(segments(place))
    data = bytearray(path.read_bytes())
    begin = chance.randrange(len(data))
    end = min(len(data), begin + chance.randrange(1, 80))
    kind = chance.randrange(6)
    if kind == 0:
        data[begin] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[begin:]
    elif kind == 2:
        data[begin:end] = bytes(end - begin)
    elif kind == 3:
        del data[begin:end]
    elif kind == 4:
        data[begin:begin] = data[begin:end]
    else:
        path.unlink()
        return
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(200))
async def test_what_is_left_after_any_damage_is_a_true_prefix(seed: int, place: Path) -> None:
    damage_at_random(place, random.Random(seed))
    first = first_of(segments(place)[0])
    with prepared_repair(place, "T", dry_run=False) as repair:
        repair.apply()
    log = FileLog("file:", place, OPTIONS)
    kept = [record for record in await read_all(log.reader(first)) if isinstance(record, Event)]
    assert kept == [event(version) for version in range(first, first + len(kept))]
    assert repair.plan.last_version == log.last_version == first - 1 + len(kept)
    assert ("incarnation" in log.load_facts()) == (not repair.plan.loses_events)
    assert log.last_version == LAST or "incarnation" not in log.load_facts()
    log.append([event(log.last_version + 1)])
    log.close()
