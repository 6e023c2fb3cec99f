"""The system calls through which a log changes the disk, as a seam: tests make the n-th of them fail."""

from __future__ import annotations

import os
from typing import Protocol


class FileSystem(Protocol):
    """Each method is the system call of its name, and raises OSError as `os` does."""

    def open(self, path: str, flags: int, mode: int) -> int: ...

    def pwrite(self, fd: int, data: bytes | memoryview, offset_bytes: int) -> int: ...

    def ftruncate(self, fd: int, length_bytes: int) -> None: ...

    def fdatasync(self, fd: int) -> None: ...

    def fsync(self, fd: int) -> None: ...

    def unlink(self, path: str) -> None: ...


class OsFileSystem:
    """The real one."""

    open = staticmethod(os.open)
    pwrite = staticmethod(os.pwrite)
    ftruncate = staticmethod(os.ftruncate)
    fdatasync = staticmethod(os.fdatasync)
    fsync = staticmethod(os.fsync)
    unlink = staticmethod(os.unlink)
