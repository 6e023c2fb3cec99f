"""Frames of one segment file, a block at a time, in bounded memory."""

from __future__ import annotations

from pathlib import Path

from storage_backends.codec import (
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    PAYLOAD_BYTES_MAX,
    Decoded,
    Unsealer,
    decode_frames,
    frame_bytes,
    locked,
)
from storage_backends.errors import LogDamagedError, LogError, LogKeyError
from storage_backends.file.room import written_end_bytes
from storage_backends.file.segment_file import SegmentFile
from storage_backends.records import Record

BLOCK_BYTES = 256 * 1024
_LOOKS = 4


class FrameStream:
    """Reads forward through an open segment.

    `offset_bytes` is the end of the last good frame and `next_version` the event expected from there on.  `problem`
    is set, for good, once a frame is bad; `can_be_torn` says whether a cut-off write would explain it.
    Sealed events are opened by `unseal`.
    """

    __slots__ = ("_lacks_key", "_unseal", "can_be_torn", "file", "next_version", "offset_bytes", "path", "problem")

    def __init__(
        self, file: SegmentFile, path: Path, offset_bytes: int, next_version: int, unseal: Unsealer = locked
    ) -> None:
        self.file = file
        self.path = path
        self.offset_bytes = offset_bytes
        self.next_version = next_version
        self.problem: str | None = None
        self.can_be_torn = True
        self._unseal = unseal
        self._lacks_key = False

    def read(self, end_bytes: int) -> list[Record]:
        """Return the records of the next block that has any.

        [] means that no further frame is whole and good before `end_bytes`: the end was reached, a frame is cut off
        there, or `problem` says what is wrong.
        """
        offset_bytes = -1
        records: list[Record] = []
        while not records and self.offset_bytes > offset_bytes:
            # A block may hold nothing but a note for recovery.
            offset_bytes = self.offset_bytes
            records = self._read_block(end_bytes)
        return records

    def _read_block(self, end_bytes: int) -> list[Record]:
        available_bytes = end_bytes - self.offset_bytes
        if self.problem or available_bytes <= 0:
            return []
        data = self._pread(min(BLOCK_BYTES, available_bytes))
        decoded = decode_frames(data, self.next_version, self._unseal)
        if not decoded.end_bytes and not decoded.problem:
            needed_bytes = frame_bytes(data)
            if needed_bytes is None or not len(data) < needed_bytes <= available_bytes:
                return []
            decoded = decode_frames(self._pread(needed_bytes), self.next_version, self._unseal)
        return self._advance(decoded)

    def read_live(self, end_bytes: int) -> list[Record]:
        """As `read`, of a segment to which another process may be writing in this moment.

        What is there of a write is seen page by page, each of them before or after it.  So a bad frame is looked at
        again, and one behind which there is nothing but zeros is not written yet.
        """
        for _ in range(_LOOKS):
            if self.can_be_torn:
                self.problem = None
            records = self.read(end_bytes)
            if records or not self.problem or not self.can_be_torn:
                return records
            if self._is_unfinished(end_bytes):
                self.problem = None
                return []
        return []

    def ends(self, end_bytes: int) -> bool:
        """Tell whether nothing stands from here to `end_bytes`, or nothing but zeros."""
        return self.written_end_bytes(end_bytes) <= self.offset_bytes

    def written_end_bytes(self, end_bytes: int) -> int:
        """Return the offset behind the last byte from here to `end_bytes` that is not zero; here if there is none."""
        try:
            return written_end_bytes(self.file, self.offset_bytes, end_bytes)
        except OSError as error:
            raise self.damage(f"the disk can't read it ({error.strerror})") from error

    def damage(self, problem: str) -> LogError:
        """Return the error for what stands at the present offset."""
        if self._lacks_key:
            return LogKeyError(f"{self.path}: {problem}")
        return LogDamagedError(f"{problem}; nothing was touched", place=str(self.path), offset_bytes=self.offset_bytes)

    def _is_unfinished(self, end_bytes: int) -> bool:
        header = self._pread(min(FRAME_HEADER_BYTES, end_bytes - self.offset_bytes))
        length_bytes = frame_bytes(header) if header.startswith(FRAME_MAGIC) else None
        return self.written_end_bytes(end_bytes) < self.offset_bytes + (length_bytes or FRAME_HEADER_BYTES)

    def _advance(self, decoded: Decoded) -> list[Record]:
        self.offset_bytes += decoded.end_bytes
        self.next_version = decoded.next_version
        self.problem = decoded.problem
        self.can_be_torn = decoded.can_be_torn
        self._lacks_key = decoded.unseal_error is not None and decoded.unseal_error.lacks_key
        return decoded.records

    def _pread(self, length_bytes: int) -> bytes:
        try:
            return self.file.pread(min(length_bytes, PAYLOAD_BYTES_MAX + BLOCK_BYTES), self.offset_bytes)
        except OSError as error:
            raise self.damage(f"the disk can't read it ({error.strerror})") from error
