"""What we may not read is no damage (design rule 8): to another user it may be whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage_backends.conformance import event
from storage_backends.errors import LogConfigurationError, LogDamagedError
from storage_backends.file import FileLog
from storage_backends.file.facts import load_facts
from storage_backends.file.repair import prepared_repair
from storage_backends.file.segment import segment_name
from storage_backends.options import LogOptions


@pytest.fixture
def place(tmp_path: Path) -> Path:
    log = FileLog("file:", tmp_path, LogOptions(segment_bytes_max=1))
    for version in (1, 2, 3):
        log.append([event(version)])
    log.store_facts({"clean_stop": 3})
    log.close()
    return tmp_path


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("name", [segment_name(2), "FACTS.json"])
def test_it_is_not_moved_aside(place: Path, monkeypatch: pytest.MonkeyPatch, name: str, dry_run: bool) -> None:
    """With a segment everything behind it would go, with the facts the catalogue of checkpoints."""
    real_open = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0) -> int:
        if Path(path) == place / name:
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(LogConfigurationError, match=f"{name} can't be read: Permission denied. That is no damage"),
        prepared_repair(place, "T", dry_run=dry_run),
    ):
        pass


def test_nobody_is_told_to_move_facts_away_that_he_may_not_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(LogDamagedError, match=r"we may not read .*: correct the file's owner or its mode"):
        load_facts(place)
