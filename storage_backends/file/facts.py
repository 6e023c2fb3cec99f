"""Facts about a file log, kept beside its segments in one small file that is replaced as a whole.

Written anew, flushed, renamed over the old one, and the directory flushed: after a crash there is the old file or the
new one.  A checksum is among them: a version with a flipped bit is a version too, and the state that a recovery makes
from it would be wrong and look right.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import google_crc32c

from storage_backends.backend import Fact
from storage_backends.errors import LogDamagedError, LogUnavailableError
from storage_backends.file.directory import FACTS_NAME, FILE_MODE

CHECKSUM_KEY = "crc32c"


def load_facts(directory: Path) -> dict[str, Fact]:
    """Return what was stored last; {} where nothing was.  Raises LogDamagedError."""
    path = directory / FACTS_NAME
    try:
        return _checked(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise LogDamagedError(
            f"we may not read the facts about the log ({error.strerror}): correct the file's owner or its mode",
            place=str(path),
            offset_bytes=0,
        ) from error
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, problem: str) -> LogDamagedError:
    return LogDamagedError(
        f"the facts about the log can't be read ({problem}); move the file away to start without them: a living target "
        "is then taken for a new one",
        place=str(path),
        offset_bytes=0,
    )


def store_facts(directory: Path, directory_fd: int, facts: Mapping[str, Fact]) -> None:
    """Replace what was stored, durably.  Raises LogUnavailableError; the old facts then stand."""
    path = directory / FACTS_NAME
    new = path.with_suffix(".new")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            data = _encoded({**facts, CHECKSUM_KEY: _checksum(facts)}) + b"\n"
            # A disk that is nearly full takes a part of it, and says only the next time why.
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(new, path)
        os.fsync(directory_fd)
    except OSError as error:
        raise LogUnavailableError(f"the facts about the log can't be written to {path}: {error.strerror}") from error


def _checked(found: object) -> dict[str, Fact]:
    """Return the facts of a file without their checksum, which older ones lack.  Raises ValueError."""
    if not isinstance(found, dict):
        raise ValueError("it holds no JSON object")
    checksum = found.pop(CHECKSUM_KEY, None)
    if checksum is not None and checksum != _checksum(found):
        raise ValueError(f"they are not what was written: {_checksum(found)} instead of {checksum!r}")
    return found


def _checksum(facts: Mapping[str, Fact]) -> str:
    return f"{google_crc32c.value(_encoded(facts)):08x}"


def _encoded(facts: Mapping[str, Fact]) -> bytes:
    return json.dumps(facts, sort_keys=True).encode()
