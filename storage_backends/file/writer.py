"""Appending to the segments: one write a batch, and all or nothing of it, into room that was prepared (`room`).

A full disk takes back the part of the batch that was written and leaves the log as it was; every other failure of a
write leaves it in an unknown state, which is final.  Nothing here waits for a flush: descriptors of finished segments
are kept until the sync thread has flushed them.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from storage_backends.codec import encode_flushed_note
from storage_backends.errors import LogFailedError, LogUnavailableError
from storage_backends.file.directory import FILE_MODE
from storage_backends.file.filesystem import FileSystem
from storage_backends.file.opening import NO_SPACE, UNSYNCED_SEGMENTS_MAX, OpenedLog
from storage_backends.file.room import CHUNK_BYTES, LOW_BYTES, ZEROS
from storage_backends.file.segment import HEADER_BYTES, Segment, encode_header, segment_name

_NO_FILE_NOW = (*NO_SPACE, errno.EMFILE, errno.ENFILE)


class Unsynced(NamedTuple):
    """What must be flushed before every event up to `version` is durable."""

    finished_fds: tuple[int, ...]
    current_fd: int
    with_directory: bool
    version: int
    written_bytes: int
    segment: Segment
    end_bytes: int


class SegmentWriter:
    """Owns the descriptor of the last segment and those of finished ones that are not flushed yet."""

    def __init__(self, filesystem: FileSystem, opened: OpenedLog, bytes_max: int) -> None:
        self._filesystem = filesystem
        self._directory = opened.directory
        self._catalogue = opened.catalogue
        self._fd = opened.fd
        self._bytes_max = bytes_max
        self._finished_fds: list[int] = []
        self._directory_changed = False
        self._room_end_bytes = 0
        self._prepares_room = True
        self.changed = False
        self.written_bytes = 0
        # What was found at the opening has been flushed; no frame tells it yet.
        self._flushed_bytes = opened.catalogue.last.end_bytes
        self._noted_bytes = -1

    def append(self, pieces: Sequence[bytes], next_version: int) -> int:
        """Write a batch, whose first event is `next_version`, to the last segment or to a new one.

        Returns the offset at which it begins there.

        Raises LogUnavailableError (the log is as before) or LogFailedError (it is not known how the log is).
        """
        segment = self._catalogue.last
        if self._is_full(segment, next_version):
            begin_bytes = HEADER_BYTES
            self._begin_segment(pieces, next_version)
        else:
            begin_bytes = segment.end_bytes
            data = b"".join((self._note(), *pieces) if self._flushed_bytes > self._noted_bytes else pieces)
            self._write(self._fd, data, begin_bytes, segment.path)
            segment.index.note(next_version, begin_bytes)
            segment.end_bytes += len(data)
            self._noted_bytes = self._flushed_bytes
        self.written_bytes += self._catalogue.last.end_bytes - begin_bytes
        self.changed = True
        self._prepare_room()
        return begin_bytes

    def take_unsynced(self, version: int) -> Unsynced:
        """Return what was written since the last call; `version` is the last event of it."""
        unsynced = Unsynced(
            tuple(self._finished_fds),
            self._fd,
            self._directory_changed,
            version,
            self.written_bytes,
            self._catalogue.last,
            self._catalogue.last.end_bytes,
        )
        self._directory_changed = False
        self.changed = False
        return unsynced

    def synced(self, unsynced: Unsynced) -> None:
        """Close the finished segments that have been flushed, and note how far the last one has been."""
        if unsynced.segment is self._catalogue.last:
            self._flushed_bytes = unsynced.end_bytes
        for fd in unsynced.finished_fds:
            self._finished_fds.remove(fd)
            os.close(fd)

    def drop_room(self) -> None:
        """End the last segment's file where its records end, if the disk lets it."""
        with contextlib.suppress(LogFailedError):
            self._seal()

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (*self._finished_fds, self._fd):
            os.close(fd)
        self._finished_fds.clear()

    def _note(self) -> bytes:
        return encode_flushed_note(self._flushed_bytes)

    def _is_full(self, segment: Segment, next_version: int) -> bool:
        # A segment without an event can't be followed: the next one would get the same name.
        return (
            segment.end_bytes >= self._bytes_max
            and next_version > segment.first_version
            and len(self._finished_fds) < UNSYNCED_SEGMENTS_MAX
        )

    def _prepare_room(self) -> None:
        """Write zeros behind the end of the last segment, as far as it may grow."""
        segment = self._catalogue.last
        begin_bytes = max(self._room_end_bytes, segment.end_bytes)
        end_bytes = min(segment.end_bytes + CHUNK_BYTES, self._bytes_max)
        if begin_bytes - segment.end_bytes >= LOW_BYTES or begin_bytes >= end_bytes or not self._prepares_room:
            return
        try:
            zeros = memoryview(ZEROS)[: end_bytes - begin_bytes]
            self._room_end_bytes = begin_bytes + self._filesystem.pwrite(self._fd, zeros, begin_bytes)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise LogFailedError(
                    f"writing to {segment.path} at byte {begin_bytes} failed: {error.strerror}"
                ) from error
            # What is left of the disk is for records, and for other files than this.
            self._prepares_room = False
            self.drop_room()

    def _seal(self) -> None:
        segment = self._catalogue.last
        if self._room_end_bytes > segment.end_bytes:
            try:
                self._filesystem.ftruncate(self._fd, segment.end_bytes)
            except OSError as error:
                raise LogFailedError(f"{segment.path} can't be cut at its end: {error.strerror}") from error
        self._room_end_bytes = 0

    def _begin_segment(self, pieces: Sequence[bytes], next_version: int) -> None:
        path = self._directory / segment_name(next_version)
        header = encode_header(next_version, self._catalogue.last.end_bytes)
        data = b"".join((header, encode_flushed_note(0), *pieces))
        self._seal()
        fd = self._create(path)
        try:
            self._write(fd, data, 0, path)
        except LogUnavailableError:
            os.close(fd)
            self._take_back(path)
            raise
        except LogFailedError:
            os.close(fd)
            raise
        self._finished_fds.append(self._fd)
        self._fd = fd
        self._prepares_room = True
        self._flushed_bytes = self._noted_bytes = 0
        self._directory_changed = True
        self._catalogue.add(Segment(path, next_version, len(data)))

    def _create(self, path: Path) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return self._filesystem.open(str(path), flags, FILE_MODE)
        except OSError as error:
            if error.errno in _NO_FILE_NOW:
                raise LogUnavailableError(f"{path} can't be created now: {error.strerror}") from error
            raise LogFailedError(f"{path} can't be created: {error.strerror}") from error

    def _take_back(self, path: Path) -> None:
        try:
            self._filesystem.unlink(str(path))
        except OSError as error:
            raise LogFailedError(f"the unfinished {path} can't be removed: {error.strerror}") from error

    def _write(self, fd: int, data: bytes, begin_bytes: int, path: Path) -> None:
        try:
            written_bytes = self._filesystem.pwrite(fd, data, begin_bytes)
            while written_bytes < len(data):
                more_bytes = self._filesystem.pwrite(fd, data[written_bytes:], begin_bytes + written_bytes)
                if not more_bytes:
                    raise OSError(errno.EIO, "the file takes no bytes")
                written_bytes += more_bytes
        except OSError as error:
            self._undo(fd, begin_bytes, path, error)

    def _undo(self, fd: int, begin_bytes: int, path: Path, error: OSError) -> None:
        self._room_end_bytes = 0
        if error.errno not in NO_SPACE:
            # What is left of the batch was acknowledged to nobody; better that the next start doesn't find it.
            with contextlib.suppress(OSError):
                self._filesystem.ftruncate(fd, begin_bytes)
            raise LogFailedError(f"writing to {path} at byte {begin_bytes} failed: {error.strerror}") from error
        try:
            self._filesystem.ftruncate(fd, begin_bytes)
        except OSError as second:
            raise LogFailedError(
                f"{path} has no space left, and what was written can't be taken back: {second.strerror}"
            ) from second
        raise LogUnavailableError(f"no space left for {path} ({error.strerror}): free some, then try again") from error
