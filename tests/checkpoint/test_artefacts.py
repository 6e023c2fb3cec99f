"""Artefacts: whole or not there, found again, encrypted where the log is; nothing else in the directory is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from interceptor.checkpoint.artefacts import Artefacts, Draft
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.errors import ArtefactDamagedError
from interceptor.checkpoint.sealing import PIECE_BYTES
from interceptor.errors import ConfigurationError
from storage_backends.secrets import load_keyring, new_key_line

CONTENT = bytes(range(256)) * (PIECE_BYTES // 256) * 2 + b"the end"


def published(artefacts: Artefacts, draft: Draft) -> Checkpoint:
    stored = artefacts.publish(draft)
    assert stored is not None
    return Checkpoint(
        draft.id, draft.version, "http", 0.0, stored.size_bytes, stored.digest, stored.name, holds_state=True
    )


def written(artefacts: Artefacts, content: bytes = CONTENT, *, checkpoint_id: str = "http-1") -> Checkpoint:
    draft = artefacts.draft(checkpoint_id, 7)
    writer = artefacts.writer(draft)
    writer.write(content[:1000])
    writer.write(content[1000:])
    writer.finish()
    return published(artefacts, draft)


@pytest.fixture
def artefacts(tmp_path: Path) -> Artefacts:
    made = Artefacts(tmp_path / "checkpoints")
    made.open(None)
    return made


@pytest.fixture
def sealed(tmp_path: Path) -> Artefacts:
    keys = tmp_path / "keys"
    keys.touch(0o600)
    keys.write_text(new_key_line("k1") + "\n")
    made = Artefacts(tmp_path / "checkpoints", load_keyring(keys))
    made.open(None)
    return made


def test_what_was_published_is_read_again(artefacts: Artefacts) -> None:
    entry = written(artefacts)
    artefacts.verify(entry)
    assert b"".join(artefacts.pieces(entry, sealed=False)) == CONTENT
    assert artefacts.path(entry).read_bytes() == CONTENT
    assert artefacts.directory.stat().st_mode & 0o777 == 0o700
    assert artefacts.path(entry).stat().st_mode & 0o777 == 0o600
    assert artefacts.next_number() == 2


@pytest.mark.parametrize("content", [b"", b"x", CONTENT[:PIECE_BYTES], CONTENT])
def test_sealed_content_is_read_again_and_not_readable(sealed: Artefacts, content: bytes) -> None:
    entry = written(sealed, content)
    sealed.verify(entry)
    assert b"".join(sealed.pieces(entry, sealed=True)) == content
    assert b"the end" not in sealed.path(entry).read_bytes()


def cut_a_frame(data: bytes) -> bytes:
    """The last frame goes, at its beginning: what is left are whole frames."""
    return data[: -(4 + 12 + 7 + 16)]


@pytest.mark.parametrize(
    "damage", [cut_a_frame, lambda data: data[:-1], lambda data: data[:20], lambda data: b"x" + data[1:],
               lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], lambda data: data + data[-40:]],
)  # fmt: skip
def test_sealed_content_that_was_changed_or_cut_off_is_refused(
    sealed: Artefacts, damage: Callable[[bytes], bytes]
) -> None:
    """Rule 8, also where somebody gave the catalogue the digest of the changed file."""
    entry = written(sealed)
    path = sealed.path(entry)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtefactDamagedError, match="http-1"):
        sealed.verify(entry)
    with pytest.raises(ArtefactDamagedError, match="http-1"):
        list(sealed.pieces(entry, sealed=True))


def test_sealed_content_of_another_checkpoint_is_refused(sealed: Artefacts) -> None:
    entry = written(sealed)
    moved = sealed.directory / "http-2"
    sealed.path(entry).rename(moved)
    with pytest.raises(ArtefactDamagedError):
        list(sealed.pieces(replace(entry, id="http-2", artefact="http-2"), sealed=True))


def test_sealed_content_needs_the_key(sealed: Artefacts) -> None:
    entry = written(sealed)
    without = Artefacts(sealed.directory)
    with pytest.raises(ArtefactDamagedError, match="--log-key-file"):
        list(without.pieces(entry, sealed=True))


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_a_damaged_artefact_is_found(artefacts: Artefacts, damage: str) -> None:
    entry = written(artefacts)
    path = artefacts.path(entry)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(CONTENT[:-1] if damage == "shorter" else b"x" + CONTENT[1:])
    with pytest.raises(ArtefactDamagedError, match="http-1"):
        artefacts.verify(entry)


def test_a_directory_is_an_artefact_too(artefacts: Artefacts) -> None:
    """Names and contents count: an engine may store many files."""
    draft = artefacts.draft("criu-4", 9)
    (draft.path / "sub").mkdir(parents=True)
    (draft.path / "sub" / "pages").write_bytes(b"p" * 100)
    (draft.path / "core").write_bytes(b"c")
    entry = published(artefacts, draft)
    artefacts.verify(entry)
    assert entry.size_bytes == 101
    (artefacts.path(entry) / "core").rename(artefacts.path(entry) / "kore")
    with pytest.raises(ArtefactDamagedError):
        artefacts.verify(entry)
    artefacts.remove("criu-4")
    assert not artefacts.path(entry).exists()


def test_what_no_catalogue_knows_is_removed_and_nothing_else(artefacts: Artefacts) -> None:
    kept = written(artefacts)
    written(artefacts, checkpoint_id="http-2")
    artefacts.writer(artefacts.draft("http-3", 1)).finish()
    (artefacts.directory / "notes.txt").write_text("mine")
    assert artefacts.remove_strangers({"http-1"}, drafts_only=True) == ["http-3.draft"]
    artefacts.writer(artefacts.draft("http-3", 1)).finish()
    assert sorted(artefacts.remove_strangers({"http-1"}, drafts_only=False)) == ["http-2", "http-3.draft"]
    artefacts.verify(kept)
    assert (artefacts.directory / "notes.txt").exists()


def test_a_directory_has_one_user_and_one_log(tmp_path: Path) -> None:
    """Rule 8: a second writer is refused."""
    first = Artefacts(tmp_path)
    first.open("postgresql://db/a")
    with pytest.raises(ConfigurationError, match="in use"):
        Artefacts(tmp_path).open("postgresql://db/a")
    first.close()
    with pytest.raises(ConfigurationError, match="belongs to the log postgresql://db/a"):
        Artefacts(tmp_path).open("postgresql://db/b")
    again = Artefacts(tmp_path)
    again.open("postgresql://db/a")
    again.close()


@pytest.mark.parametrize("name", ["../secret", "a/b", "OWNER", ""])
def test_an_entry_can_not_name_a_file_elsewhere(artefacts: Artefacts, name: str) -> None:
    with pytest.raises(ArtefactDamagedError):
        artefacts.path(Checkpoint("http-1", 1, "http", 0.0, artefact=name))
