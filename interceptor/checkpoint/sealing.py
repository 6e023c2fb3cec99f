"""Artefacts as streams of pieces, encrypted with the log's keys where there are any.

A sealed artefact is a header (magic, the key's id) and frames (length, nonce, ciphertext of up to 1 MiB).  What
authenticates a frame names the checkpoint, the frame's number and whether it is the last, so none can be left out,
moved or cut off unnoticed (the STREAM construction: Hoang, Reyhanitabar, Rogaway, Vizár, 2015).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from interceptor.checkpoint.errors import ArtefactDamagedError
from storage_backends.codec import UnsealError
from storage_backends.secrets import Keyring

MAGIC = b"ICPTSEAL1\n"
PIECE_BYTES = 1024 * 1024
FILE_MODE = 0o600
Read: TypeAlias = Callable[[int], bytes]

_LENGTH = struct.Struct("<I")
_NONCE_BYTES = 12
_TAG_BYTES = 16


class ArtefactWriter:
    """Writes one new file, from pieces of any size.  Its methods block and raise OSError; close it in any case."""

    def __init__(self, path: Path, checkpoint_id: str, keyring: Keyring | None) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        self._id = checkpoint_id
        self._keyring = keyring
        self._waiting = bytearray()
        self._frames = 0
        if keyring is not None:
            key_id = keyring.key_id.encode()
            self._write(MAGIC + bytes([len(key_id)]) + key_id)

    def write(self, piece: bytes) -> None:
        """Take the next piece."""
        if self._keyring is None:
            self._write(piece)
            return
        self._waiting += piece
        # One piece is kept back: the last frame must say that it is the last.
        while len(self._waiting) > PIECE_BYTES:
            self._write_frame(bytes(self._waiting[:PIECE_BYTES]), last=False)
            del self._waiting[:PIECE_BYTES]

    def finish(self) -> None:
        """Write what waits, and close."""
        try:
            if self._keyring is not None:
                self._write_frame(bytes(self._waiting), last=True)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file as it is."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _write_frame(self, content: bytes, *, last: bool) -> None:
        assert self._keyring is not None
        nonce, ciphertext = self._keyring.seal_bytes(content, _associated(self._id, self._frames, last=last))
        self._frames += 1
        self._write(_LENGTH.pack(len(ciphertext)) + nonce + ciphertext)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def read_pieces(path: Path, checkpoint_id: str, keyring: Keyring | None, *, sealed: bool) -> Iterator[bytes]:
    """Yield what was written, piece by piece.  Blocks.  Raises ArtefactDamagedError, also for what can't be read."""
    try:
        with path.open("rb") as file:
            if sealed:
                yield from _unsealed(file.read, path, checkpoint_id, keyring)
                return
            while piece := file.read(PIECE_BYTES):
                yield piece
    except OSError as error:
        raise ArtefactDamagedError(f"{path} can't be read: {error.strerror}") from error


def _unsealed(read: Read, path: Path, checkpoint_id: str, keyring: Keyring | None) -> Iterator[bytes]:
    if keyring is None:
        raise ArtefactDamagedError(f"{path} is encrypted: name the log's key file (--log-key-file)")
    if read(len(MAGIC)) != MAGIC:
        raise ArtefactDamagedError(f"{path} does not begin as an encrypted checkpoint does")
    key_id = read(read(1)[0]).decode("ascii", "replace")
    number = 0
    frame = _read_frame(read, path)
    while frame is not None:
        following = _read_frame(read, path)
        nonce, ciphertext = frame
        try:
            yield keyring.unseal_bytes(
                key_id, nonce, ciphertext, _associated(checkpoint_id, number, last=following is None)
            )
        except UnsealError as error:
            raise ArtefactDamagedError(f"{path}, piece {number}: {error}") from None
        frame = following
        number += 1
    if number == 0:
        raise ArtefactDamagedError(f"{path} ends after its header")


def _read_frame(read: Read, path: Path) -> tuple[bytes, bytes] | None:
    head = read(_LENGTH.size)
    if not head:
        return None
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    if not _TAG_BYTES <= length <= PIECE_BYTES + _TAG_BYTES:
        raise ArtefactDamagedError(f"{path} holds a frame of an impossible length")
    nonce, ciphertext = read(_NONCE_BYTES), read(length)
    if len(ciphertext) < length:
        raise ArtefactDamagedError(f"{path} ends in the middle of a frame")
    return nonce, ciphertext


def _associated(checkpoint_id: str, number: int, *, last: bool) -> bytes:
    return b"%b%b\n%d %d" % (MAGIC, checkpoint_id.encode(), number, last)
