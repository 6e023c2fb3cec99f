"""The directory beside the images in which one run of criu has its log, its pid file, and the script that it runs.

Such a script asks whether we still live, by a pipe of ours under /proc/OUR_PID/fd: criu is not killed with us (it would
leave processes that are half made), and closes what it inherits.  Opening a pipe there never waits for the other end,
unlike a FIFO's name, and when we are gone there is nothing to open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "interceptor-criu-"
_SCRIPT_NAME = "action"


@contextlib.contextmanager
def work_directory() -> Iterator[str]:
    """A new one; it is locked, so that nobody takes it for a left one.  Raises OSError."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as work:
        fd = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield work
        finally:
            os.close(fd)


def remove_left_ones() -> None:
    """Remove those whose owner was killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            # Never through a link, and nobody else's.
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_uid == os.geteuid():
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)


def write_script(work: str, text: str) -> list[str]:
    """Write the action script; return the options that name it.  Raises OSError."""
    path = Path(work, _SCRIPT_NAME)
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o700)
    return ["--action-script", str(path)]


def name_of_ours(fd: int) -> str:
    """Return where another process finds a descriptor of ours, as long as we live."""
    return f"/proc/{os.getpid()}/fd/{fd}"
