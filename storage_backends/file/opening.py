"""Opening the directory of a log as its writer: lock it, recover its end, flush what was found.

What a former process left in the page cache is flushed before it is called durable.  Only the newest segments can
hold such data, because the writer never leaves more of them unflushed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from pathlib import Path
from typing import NamedTuple

from storage_backends.codec import Unsealer, locked
from storage_backends.errors import (
    LogConfigurationError,
    LogDamagedError,
    LogError,
    LogFailedError,
    LogUnavailableError,
)
from storage_backends.file.catalogue import Catalogue
from storage_backends.file.compressed import compressed_path
from storage_backends.file.directory import (
    FILE_MODE,
    NEW_SUFFIX,
    list_segments,
    lock_directory,
    prepare_directory,
    remove_leftovers,
    sign_lock,
)
from storage_backends.file.filesystem import FileSystem
from storage_backends.file.key_check import check_first_events
from storage_backends.file.recovery import Recovery, scan_end
from storage_backends.file.segment import Segment, encode_header, segment_name
from storage_backends.file.segment_file import READ_FLAGS, open_segment_file, stored_path

UNSYNCED_SEGMENTS_MAX = 4
"""Finished segments that may wait for their flush; with as many waiting the current one grows beyond its size."""

_COPY_BYTES = 1024 * 1024

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger("storage_backends.file")


class OpenedLog(NamedTuple):
    """A log that is locked, whole and flushed. `fd` writes to the last segment; `recovered` tells what was cut."""

    directory: Path
    lock_fd: int
    directory_fd: int
    fd: int
    catalogue: Catalogue
    last_version: int
    recovered: tuple[Recovery, ...]


def open_directory(directory: Path, filesystem: FileSystem, unseal: Unsealer = locked) -> OpenedLog:
    """Become the writer of the log in `directory`, which is created if it is missing.

    Raises LogConfigurationError, LogLockedError, LogDamagedError, LogKeyError (sealed events that `unseal` can't open),
    LogUnavailableError (no space), LogFailedError.
    """
    prepare_directory(directory)
    with contextlib.ExitStack() as undo:
        try:
            lock_fd = lock_directory(directory)
            undo.callback(os.close, lock_fd)
            directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, directory_fd)
            remove_leftovers(directory)
            segments = list_segments(directory)
            _unpack_last(segments, directory_fd, filesystem)
            if segments:
                check_first_events(segments[:-1], unseal)
                last_version, recovered, fd = _recover(segments, filesystem, unseal)
            else:
                segments = [Segment(directory / segment_name(1), 1, 0)]
                last_version, recovered, fd = 0, (), _begin(segments[0], os.O_CREAT | os.O_EXCL, filesystem)
            undo.callback(os.close, fd)
            for segment in segments[-1 - UNSYNCED_SEGMENTS_MAX : -1]:
                _flush_file(segment.path, filesystem)
            filesystem.fdatasync(fd)
            filesystem.fsync(directory_fd)
            sign_lock(lock_fd)
        except OSError as error:
            raise _opening_error(directory, error) from error
        undo.pop_all()
    return OpenedLog(directory, lock_fd, directory_fd, fd, Catalogue(segments), last_version, recovered)


def _recover(
    segments: list[Segment], filesystem: FileSystem, unseal: Unsealer
) -> tuple[int, tuple[Recovery, ...], int]:
    """Remove newborn segments without a record from the end, and cut the last one at its last whole frame.

    Returns the last version, what was cut, and a descriptor to write to the last segment.
    """
    scans = scan_end(segments, unseal)
    recovered = tuple(
        Recovery(str(segment.path), scan.whole_bytes, scan.torn_bytes, scan.problem)
        for segment, scan in zip(reversed(segments), scans, strict=False)
        if scan.torn_bytes
    )
    for cut in recovered:
        logger.warning("%s", cut)
    for _ in scans[:-1]:
        filesystem.unlink(str(segments.pop().path))
    last, scan = segments[-1], scans[-1]
    last.end_bytes = scan.whole_bytes
    if not scan.whole_bytes:
        return scan.last_version, recovered, _begin(last, os.O_TRUNC, filesystem)
    fd = filesystem.open(str(last.path), os.O_WRONLY | os.O_CLOEXEC, FILE_MODE)
    if scan.file_bytes > scan.whole_bytes:
        try:
            filesystem.ftruncate(fd, scan.whole_bytes)
        except OSError:
            os.close(fd)
            raise
    return scan.last_version, recovered, fd


def _unpack_last(segments: list[Segment], directory_fd: int, filesystem: FileSystem) -> None:
    """Make a last segment that is compressed one that can be written to: those behind it were taken away."""
    if not segments or segments[-1].stored_bytes is None:
        return
    path = segments[-1].path
    unpack_segment(path, path.with_name(path.name + NEW_SUFFIX), filesystem)
    filesystem.fsync(directory_fd)
    filesystem.unlink(str(compressed_path(path)))
    segments[-1].stored_bytes = None


def unpack_segment(path: Path, new: Path, filesystem: FileSystem) -> None:
    """Put the uncompressed file of a compressed segment at `path`, durably but for its name. Raises LogDamagedError."""
    try:
        file = open_segment_file(path)
        fd = filesystem.open(str(new), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            offset_bytes = 0
            while data := file.pread(_COPY_BYTES, offset_bytes):
                offset_bytes += filesystem.pwrite(fd, data, offset_bytes)
            filesystem.fdatasync(fd)
        finally:
            os.close(fd)
            file.close()
    except OSError as error:
        if error.errno != errno.EBADMSG:
            raise
        raise LogDamagedError(
            f"{error.strerror}; nothing was touched", place=str(compressed_path(path)), offset_bytes=0
        ) from error
    os.rename(new, path)


def _begin(segment: Segment, flag: int, filesystem: FileSystem) -> int:
    """Write the header of a log's only segment, which is empty; return a descriptor to write to it.

    A header that is cut off here, by a full disk or a crash, is begun anew at the next opening.
    """
    fd = filesystem.open(str(segment.path), os.O_WRONLY | os.O_CLOEXEC | flag, FILE_MODE)
    header = encode_header(segment.first_version, 0)
    try:
        while segment.end_bytes < len(header):
            written_bytes = filesystem.pwrite(fd, header[segment.end_bytes :], segment.end_bytes)
            if not written_bytes:
                raise OSError(errno.EIO, "the file takes no bytes")
            segment.end_bytes += written_bytes
    except OSError:
        os.close(fd)
        raise
    return fd


def _flush_file(path: Path, filesystem: FileSystem) -> None:
    fd = os.open(stored_path(path), READ_FLAGS)
    try:
        filesystem.fdatasync(fd)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(fd)


def _opening_error(directory: Path, error: OSError) -> LogError:
    if error.errno in NO_SPACE:
        return LogUnavailableError(f"no space left to open the log in {directory}: free some, then try again")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return LogConfigurationError(f"the log in {directory} may not be opened for writing: {error.strerror}")
    return LogFailedError(f"the log in {directory} can't be opened: {error}")
