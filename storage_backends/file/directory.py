"""The directory of a file log: is it ours, who writes it, what is in it.

A directory is ours when it is empty (as a fresh volume is, `lost+found` aside) or holds a segment.  Anything else is
refused before anything in it is created or changed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from urllib.parse import unquote

from storage_backends.errors import LogConfigurationError, LogDamagedError, LogLockedError
from storage_backends.file.compressed import SUFFIX, ZSTD_MAGIC, CompressedFile, compressed_path
from storage_backends.file.segment import SEGMENT_MAGIC, Segment, parse_segment_name, segment_name
from storage_backends.url import split_url

LOCK_NAME = "LOCK"
FACTS_NAME = "FACTS.json"
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
NEW_SUFFIX = ".new"

_NAMES_IN_EMPTY = {LOCK_NAME, FACTS_NAME, "FACTS.new", "lost+found"}


def path_of_url(url: str) -> Path:
    """Return the directory that `file:///dir`, `file:dir` or `file://./dir` names. Raises LogConfigurationError."""
    parts = split_url(url)
    if parts.query or parts.fragment:
        raise LogConfigurationError(f"{url!r}: a file log takes no query and no fragment; write ? as %3F, # as %23")
    host, path = unquote(parts.authority), unquote(parts.path)
    if host in (".", ".."):
        path = host + path
    elif host not in ("", "localhost"):
        raise LogConfigurationError(
            f"{url!r} names a host; write file:///{host}{path} for an absolute, file:{host}{path} for a relative path"
        )
    if not path or "\0" in path:
        raise LogConfigurationError(f"{url!r} names no directory; write file:///DIR or file:DIR")
    return Path(path)


def prepare_directory(path: Path) -> None:
    """Create the directory if it is missing, and check that it is ours. Raises LogConfigurationError."""
    try:
        try:
            path.mkdir(DIRECTORY_MODE)
        except FileExistsError:
            check_ours(path)
        else:
            _sync_directory(path.parent)
    except FileNotFoundError as error:
        raise LogConfigurationError(
            f"the log can't be created in {path}: {path.parent} does not exist (is its volume mounted?)"
        ) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename not in (None, str(path)) else ""
        raise LogConfigurationError(f"the log directory {path} can't be used: {error.strerror}{where}") from error


def check_ours(path: Path) -> None:
    """Raise LogConfigurationError if the directory holds files but is no log. Changes nothing.

    Raises LogDamagedError if it is one, but its first segment begins otherwise.
    """
    names = {entry.name for entry in os.scandir(path)}
    segments = sorted(name for name in names if parse_segment_name(name))
    strange = sorted(name for name in names if name.endswith(".log") and not parse_segment_name(name))
    if segments:
        good = [_begins_as_segment(path / name) for name in segments[:1] + segments[-1:]]
        if good == [False, True]:
            raise LogDamagedError(
                "this is not a segment of a log; nothing was touched", place=str(path / segments[0]), offset_bytes=0
            )
        if not any(good):
            raise LogConfigurationError(
                f"{path / segments[0]} does not begin as a segment of a log: if it is one, it is damaged"
                f" (interceptor log verify --log file:{path}), else choose an empty directory; nothing was touched"
            )
    else:
        strange = sorted(names - _NAMES_IN_EMPTY)
    if strange:
        raise LogConfigurationError(
            f"{path} is not the directory of a log, {strange[0]!r} in it is foreign: choose an empty directory;"
            " nothing was touched"
        )


def _begins_as_segment(path: Path) -> bool:
    """Tell whether the file has a segment's magic, or none yet: recovery judges what was being born in a crash."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        begin = os.pread(fd, len(SEGMENT_MAGIC), 0)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(fd)
    magic = ZSTD_MAGIC if path.name.endswith(SUFFIX) else SEGMENT_MAGIC
    return not begin.strip(b"\0") or magic.startswith(begin[: len(magic)])


def list_segments(path: Path) -> list[Segment]:
    """Return the segments in the directory, oldest first, with their sizes."""
    segments, compressed = [], []
    for entry in os.scandir(path):
        first_version = parse_segment_name(entry.name)
        if first_version:
            # A live log may be trimmed between the listing and the look at its size.
            with contextlib.suppress(FileNotFoundError):
                segment = Segment(path / segment_name(first_version), first_version, entry.stat().st_size)
                if entry.name.endswith(SUFFIX):
                    compressed.append(segment)
                else:
                    segments.append(segment)
    # While both files of a segment are there, a crash may have cut off the compressed one.
    plain = {segment.first_version for segment in segments}
    segments += [_sized(segment) for segment in compressed if segment.first_version not in plain]
    return sorted(segments, key=lambda segment: segment.first_version)


def _sized(segment: Segment) -> Segment:
    """Set the sizes of a compressed segment; one whose index is damaged is the reader's to report."""
    segment.stored_bytes = segment.end_bytes
    with contextlib.suppress(OSError):
        file = CompressedFile(compressed_path(segment.path))
        segment.end_bytes = file.size_bytes()
        file.close()
    return segment


def remove_leftovers(path: Path) -> None:
    """Remove what a crash left of a compression: the uncompressed file is still there. Raises OSError."""
    for name in sorted(os.listdir(path)):
        whole = name.removesuffix(NEW_SUFFIX)
        plain = whole.removesuffix(SUFFIX)
        if whole != plain and parse_segment_name(plain) and (whole != name or (path / plain).exists()):
            os.unlink(path / name)


def lock_directory(path: Path) -> int:
    """Become the only writer; return the lock's descriptor, whose closing ends it. Raises LogLockedError.

    Whoever goes on from here signs it: a start that is refused later leaves what stands in it.
    """
    # What a link leads to is somebody else's, and would be overwritten.
    fd = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    try:
        holder = lock_or_find_holder(fd)
        if holder is not None:
            raise LogLockedError(
                f"{path} is already being written by process {holder}: stop it, or give this one a directory of its own"
            )
    except BaseException:
        os.close(fd)
        raise
    return fd


def lock_or_find_holder(fd: int) -> str | None:
    """Take the lock behind a descriptor, or return who has it: the process id that stands in the file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
    return None


def sign_lock(lock_fd: int) -> None:
    """Write who holds the lock into it, which helps whoever is refused. Raises OSError."""
    try:
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        # A full disk must not keep a log from being opened and read.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
