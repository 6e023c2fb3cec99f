"""A segment's bytes, wherever they are kept: as they were written, or compressed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from storage_backends.file.compressed import CompressedFile, compressed_path

READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""Non-blocking: nobody waits for the writer of a pipe that has a segment's name. To a file it means nothing."""


class SegmentFile(Protocol):
    """An open segment.  Offsets and lengths are those of the bytes as they were written, compressed or not."""

    def pread(self, length_bytes: int, offset_bytes: int) -> bytes:
        """Return the bytes there, fewer at the end. Raises OSError."""
        ...

    def size_bytes(self) -> int:
        """Return how many there are now."""
        ...

    def place(self, version: int) -> tuple[int, int] | None:
        """Return (next_version, offset) from which the event is found, if the file itself tells."""
        ...

    def close(self) -> None: ...


class PlainFile:
    """A segment as it was written. Implements SegmentFile."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def pread(self, length_bytes: int, offset_bytes: int) -> bytes:
        return os.pread(self._fd, length_bytes, offset_bytes)

    def size_bytes(self) -> int:
        return os.fstat(self._fd).st_size

    def place(self, version: int) -> tuple[int, int] | None:
        return None

    def close(self) -> None:
        os.close(self._fd)


def open_segment_file(path: Path) -> SegmentFile:
    """Open the segment whose uncompressed file is (or was) at `path`. Raises OSError."""
    try:
        return PlainFile(os.open(path, READ_FLAGS))
    except FileNotFoundError:
        # A live log's writer may have compressed it since it was listed.
        return CompressedFile(compressed_path(path))


def stored_path(path: Path) -> Path:
    """Return the file that the segment is in: `path`, or where that is gone, the compressed one."""
    return path if path.exists() or not compressed_path(path).exists() else compressed_path(path)
