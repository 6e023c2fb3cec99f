"""Frames of one segment file, a block at a time, in bounded memory."""

from __future__ import annotations

import os
from pathlib import Path

from storage_backends.codec import PAYLOAD_BYTES_MAX, Decoded, decode_frames, frame_bytes
from storage_backends.errors import LogDamagedError
from storage_backends.records import Record

BLOCK_BYTES = 256 * 1024


class FrameStream:
    """Reads forward through an open segment.

    `offset_bytes` is the end of the last good frame and `next_version` the event expected from there on.  `problem`
    is set, for good, once a frame is bad; `can_be_torn` says whether a cut-off write would explain it.
    """

    __slots__ = ("can_be_torn", "fd", "next_version", "offset_bytes", "path", "problem")

    def __init__(self, fd: int, path: Path, offset_bytes: int, next_version: int) -> None:
        self.fd = fd
        self.path = path
        self.offset_bytes = offset_bytes
        self.next_version = next_version
        self.problem: str | None = None
        self.can_be_torn = True

    def read(self, end_bytes: int) -> list[Record]:
        """Return the records of the next block.

        [] means that no further frame is whole and good before `end_bytes`: the end was reached, a frame is cut off
        there, or `problem` says what is wrong.
        """
        available_bytes = end_bytes - self.offset_bytes
        if self.problem or available_bytes <= 0:
            return []
        data = self._pread(min(BLOCK_BYTES, available_bytes))
        decoded = decode_frames(data, self.next_version)
        if not decoded.end_bytes and not decoded.problem:
            needed_bytes = frame_bytes(data)
            if needed_bytes is None or not len(data) < needed_bytes <= available_bytes:
                return []
            decoded = decode_frames(self._pread(needed_bytes), self.next_version)
        return self._advance(decoded)

    def damage(self, problem: str) -> LogDamagedError:
        """Return the error for what stands at the present offset."""
        return LogDamagedError(f"{problem}; nothing was touched", place=str(self.path), offset_bytes=self.offset_bytes)

    def _advance(self, decoded: Decoded) -> list[Record]:
        self.offset_bytes += decoded.end_bytes
        self.next_version = decoded.next_version
        self.problem = decoded.problem
        self.can_be_torn = decoded.can_be_torn
        return decoded.records

    def _pread(self, length_bytes: int) -> bytes:
        try:
            return os.pread(self.fd, min(length_bytes, PAYLOAD_BYTES_MAX + BLOCK_BYTES), self.offset_bytes)
        except OSError as error:
            raise self.damage(f"the disk can't read it ({error.strerror})") from error
