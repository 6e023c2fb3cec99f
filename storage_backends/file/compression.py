"""Compressing finished segments, one after the other, in a thread of its own.

A segment is compressed once an event of the next one is durable: then no crash makes it the last one again.  Written
beside, flushed, renamed, the directory flushed, and only then the uncompressed file is removed: whenever a crash comes,
one of the two is whole, and as long as both are there the uncompressed one counts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from storage_backends.codec import blank
from storage_backends.file.catalogue import Catalogue
from storage_backends.file.compressed import compress_blocks, compressed_path
from storage_backends.file.directory import FILE_MODE, NEW_SUFFIX
from storage_backends.file.filesystem import FileSystem
from storage_backends.file.segment import HEADER_BYTES, Segment
from storage_backends.file.segment_file import open_segment_file
from storage_backends.file.stream import FrameStream
from storage_backends.file.sync import SyncThread

BLOCK_BYTES_MIN = 192 * 1024
PAUSE_S = 0.005
"""Between two blocks the thread lets go, so that the event loop is not kept from the interpreter."""

logger = logging.getLogger("storage_backends.file")


class Compression:
    """Goes through a log's finished segments.  All methods are called from the event loop's thread."""

    def __init__(self, catalogue: Catalogue, directory_fd: int, filesystem: FileSystem, name: str) -> None:
        self._catalogue = catalogue
        self._directory_fd = directory_fd
        self._filesystem = filesystem
        self._thread = SyncThread(f"log-compress {name}")
        self._next: Segment | None = catalogue.find(0)
        self._stopping = False
        self.busy_with: Segment | None = None

    def go_on(self, durable_version: int) -> None:
        """Begin with the next segment, if there is one, it may be compressed, and nothing is under way."""
        while self.busy_with is None and self._next is not None:
            segment, following = self._next, self._catalogue.after(self._next)
            if following is None or following.first_version > durable_version:
                return
            self._next = following
            if segment.stored_bytes is None:
                self.busy_with = segment
                work = partial(self._compress, segment, segment.index.places())
                self._thread.submit(work, partial(self._compressed, segment))

    def stop(self) -> None:
        """Have the thread leave unfinished what it is at, at the end of a block."""
        self._stopping = True
        self._next = None

    def wait_until_stopped(self) -> None:
        """Block until the thread has ended; called once, from any thread."""
        self._thread.finish(_nothing)

    def _compressed(self, segment: Segment, error: Exception | None) -> None:
        self.busy_with = None
        if error is None:
            with contextlib.suppress(FileNotFoundError):
                self._catalogue.note_stored(segment, compressed_path(segment.path).stat().st_size)
        elif not self._stopping:
            # What is not compressed only takes room; the next start tries again.
            self._next = None
            logger.warning("%s stays uncompressed, as those behind it, until the next start: %s", segment.path, error)

    def _compress(self, segment: Segment, places: list[tuple[int, int]]) -> None:
        """Runs in the thread."""
        path = compressed_path(segment.path)
        new = path.with_name(path.name + NEW_SUFFIX)
        try:
            self._write(new, self._pieces(segment, places))
            os.rename(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        self._filesystem.fsync(self._directory_fd)
        self._filesystem.unlink(str(segment.path))

    def _write(self, new: Path, pieces: Iterator[tuple[int, bytes]]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = self._filesystem.open(str(new), flags, FILE_MODE)
        try:
            offset_bytes = 0
            for stored in compress_blocks(pieces):
                view = memoryview(stored)
                while view:
                    written_bytes = self._filesystem.pwrite(fd, view, offset_bytes)
                    offset_bytes += written_bytes
                    view = view[written_bytes:]
            self._filesystem.fdatasync(fd)
        finally:
            os.close(fd)

    def _pieces(self, segment: Segment, places: list[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
        """Yield the segment in pieces that begin at frames, each with the event expected there."""
        file = open_segment_file(segment.path)
        try:
            begin_version, begin_bytes = segment.first_version, 0
            known = iter(places) if places else _walked(file_stream(segment))
            for next_version, offset_bytes in [*known, (0, segment.end_bytes)]:
                if offset_bytes - begin_bytes < BLOCK_BYTES_MIN and offset_bytes != segment.end_bytes:
                    continue
                if self._stopping:
                    raise InterruptedError("the log is being closed")
                if offset_bytes > begin_bytes:
                    yield begin_version, file.pread(offset_bytes - begin_bytes, begin_bytes)
                    time.sleep(PAUSE_S)
                begin_version, begin_bytes = next_version, offset_bytes
        finally:
            file.close()


def _nothing() -> None:
    """The last work of a thread that only ends."""


def file_stream(segment: Segment) -> FrameStream:
    """Return a stream over the segment's frames, which closes its file at the end."""
    return FrameStream(open_segment_file(segment.path), segment.path, HEADER_BYTES, segment.first_version, blank)


def _walked(stream: FrameStream) -> Iterator[tuple[int, int]]:
    """Yield places in a segment that was written by a former process. Raises LogDamagedError."""
    try:
        end_bytes = stream.file.size_bytes()
        while stream.read(end_bytes):
            yield stream.next_version, stream.offset_bytes
            time.sleep(PAUSE_S)
        if not stream.ends(end_bytes):
            raise stream.damage(stream.problem or "the segment ends within a frame")
    finally:
        stream.file.close()
