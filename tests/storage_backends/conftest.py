"""What the tests of the file log share: a file system that fails on order."""

from __future__ import annotations

import os

import pytest

from storage_backends.file import FileLog
from storage_backends.file.recent import RecentBatches

PREPARE = "pwrite of zeros"


class FaultyFileSystem:
    """Passes calls through; `faults` maps (call's name, its number from 1 on) to an errno or to a short count."""

    def __init__(self) -> None:
        self.faults: dict[tuple[str, int], int | OSError] = {}
        self.counts: dict[str, int] = {}

    def fail_next(self, name: str, code: int, times: int = 1) -> None:
        for ahead in range(times):
            self.faults[name, self.counts.get(name, 0) + 1 + ahead] = OSError(code, os.strerror(code))

    def shorten_next_write(self, length_bytes: int) -> None:
        self.faults["pwrite", self.counts.get("pwrite", 0) + 1] = length_bytes

    def _fault(self, name: str) -> int | None:
        self.counts[name] = self.counts.get(name, 0) + 1
        fault = self.faults.pop((name, self.counts[name]), None)
        if isinstance(fault, OSError):
            raise fault
        return fault

    def open(self, path: str, flags: int, mode: int) -> int:
        self._fault("open")
        return os.open(path, flags, mode)

    def pwrite(self, fd: int, data: bytes | memoryview, offset_bytes: int) -> int:
        length_bytes = self._fault("pwrite" if any(data) else PREPARE)
        return os.pwrite(fd, data if length_bytes is None else data[:length_bytes], offset_bytes)

    def ftruncate(self, fd: int, length_bytes: int) -> None:
        self._fault("ftruncate")
        os.ftruncate(fd, length_bytes)

    def fdatasync(self, fd: int) -> None:
        self._fault("fdatasync")
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        self._fault("fsync")
        os.fsync(fd)

    def unlink(self, path: str) -> None:
        self._fault("unlink")
        os.unlink(path)


def without_ring(log: FileLog) -> FileLog:
    """Make the log's readers take all but the last batch from the files."""
    log._recent = RecentBatches(1, 1)
    return log


@pytest.fixture
def faulty() -> FaultyFileSystem:
    return FaultyFileSystem()
