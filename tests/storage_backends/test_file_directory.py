"""What else may stand in a log's directory, or in the place of its files: refused and untouched (design rule 8)."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from storage_backends.backend import Fact
from storage_backends.conformance import event, read_all
from storage_backends.errors import LogConfigurationError, LogDamagedError, LogError
from storage_backends.file import FileLog
from storage_backends.file.facts import load_facts, store_facts
from storage_backends.options import LogOptions
from tests.storage_backends.damaging import segments

OPTIONS = LogOptions(segment_bytes_max=200)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A log of several segments."""
    place = tmp_path / "log"
    log = FileLog("file:", place, OPTIONS)
    for version in range(1, 10):
        log.append([event(version)])
    log.close()
    return place


@pytest.mark.parametrize("name", ["notes.txt", "000003.log", "LOCK.old"])
def test_a_directory_that_is_not_ours_is_refused_and_nothing_is_created(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(LogConfigurationError, match="foreign"):
        FileLog("file:", tmp_path, OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def as_directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def as_text(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text) and None


@pytest.mark.parametrize("damage", [as_directory, as_text(""), as_text("[1]"), as_text("[" * 100_000)])
def test_facts_that_can_not_be_read_are_refused_in_one_way(damage: Callable[[Path], None], place: Path) -> None:
    """Rule 8: not a traceback, and not a guess that nothing was noted."""
    damage(place / "FACTS.json")
    log = FileLog("file:", place, OPTIONS)
    with pytest.raises(LogDamagedError, match=r"FACTS.json at byte 0: the facts about the log can't be read"):
        log.load_facts()
    log.close()


async def test_a_pipe_with_a_segments_name_is_damage_and_not_waited_for(place: Path) -> None:
    middle = segments(place)[1]
    middle.unlink()
    os.mkfifo(middle)
    with pytest.raises(LogError, match=f"{middle.name} at byte 0|{place}"):
        await read_all(FileLog("file:", place, OPTIONS).reader(1))


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays(place: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (place / "LOCK").unlink()
    (place / "LOCK").symlink_to(precious)
    with pytest.raises(LogError, match="LOCK"):
        FileLog("file:", place, OPTIONS)
    assert precious.read_text() == "mine"


def test_a_fresh_volume_and_a_note_beside_the_segments_are_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    FileLog("file:", tmp_path, OPTIONS).close()
    (tmp_path / "notes.txt").write_text("mine")
    FileLog("file:", tmp_path, OPTIONS).close()


def test_a_flipped_bit_in_the_facts_is_refused(tmp_path: Path) -> None:
    """Rule 8: they say what a checkpoint holds, and another version would be as good a number."""
    facts: dict[str, Fact] = {
        "clean_stop": 12,
        "checkpoints": [{"id": "http-1", "version": 10, "time": 0.5, "ü": None}],
    }
    fd = os.open(tmp_path, os.O_RDONLY)
    store_facts(tmp_path, fd, facts)
    os.close(fd)
    path = tmp_path / "FACTS.json"
    written = path.read_bytes()
    assert load_facts(tmp_path) == facts
    for place in range(len(written)):
        for bit in range(8):
            path.write_bytes(written[:place] + bytes([written[place] ^ 1 << bit]) + written[place + 1 :])
            with suppress(LogDamagedError):
                # In white space, and in the checksum's own name: the facts are the same.
                assert load_facts(tmp_path).items() >= facts.items()
    path.write_text('{"clean_stop": 12}')
    assert load_facts(tmp_path) == {"clean_stop": 12}, "an older file"
