"""Every built-in backend passes the suite that outside authors run."""

from __future__ import annotations

from pathlib import Path

from storage_backends import LogBackend, open_log
from storage_backends.conformance import LogConformance
from storage_backends.file import FileLog
from storage_backends.options import LogOptions
from tests.storage_backends.conftest import without_ring


class TestMemoryLog(LogConformance):
    survives_close = False

    def open(self, place: Path) -> LogBackend:
        return open_log("memory:")


class TestFileLog(LogConformance):
    def open(self, place: Path) -> LogBackend:
        return open_log(f"file://{place}")


class TestFileLogOfTinySegments(LogConformance):
    def open(self, place: Path) -> LogBackend:
        return open_log(f"file://{place}", segment_bytes_max=1)


class TestFileLogWithHardlyARing(LogConformance):
    def open(self, place: Path) -> LogBackend:
        return without_ring(FileLog(f"file://{place}", place, LogOptions()))
