"""What the tests of sealed logs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storage_backends import codec, open_log
from storage_backends.codec import FRAME_MAGIC
from storage_backends.records import Event, Record
from storage_backends.secrets import new_key_line

MARKER = b"hunter2-"
SECRET = Event(1, 5, b"POST /login HTTP/1.1\r\nAuthorization: Bearer hunter2-head\r\n\r\n", b"hunter2-body")

KeyFile = Callable[..., Path]


@pytest.fixture(name="key_file")
def make_key_file(tmp_path: Path) -> KeyFile:
    """`key_file("new", "old")`: a key file with these keys, which are the same whenever their names are."""
    keys: dict[str, str] = {}

    def write(*key_ids: str) -> Path:
        path = tmp_path / f"keys-{'-'.join(key_ids)}"
        path.write_text("".join(f"{keys.setdefault(key_id, new_key_line(key_id))}\n" for key_id in key_ids))
        path.chmod(0o600)
        return path

    return write


def filled(place: Path, records: list[Record], keys: Path | None, **options: int) -> None:
    """Append, one record a batch, and close."""
    log = open_log(f"file:{place}", key_file=keys, **options)
    for record in records:
        log.append([record])
    log.close()


def frame_at(data: bytes, number: int) -> bytes:
    """Return the frame of a segment's n-th record, counted from 1."""
    frames = [FRAME_MAGIC + rest for rest in data.split(FRAME_MAGIC)[1:]]
    return [frame for frame in frames if codec.flushed_note_at(frame, 0) is None][number - 1]


def refreshed(payload: bytes) -> bytes:
    """Return a frame with a good CRC around what an attacker made."""
    pieces: list[bytes] = []
    codec._add_frame(pieces, codec._unpack(payload))
    return b"".join(pieces)
