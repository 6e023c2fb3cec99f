"""Is a log whole: every checksum, the versions, the segments, and what became of each event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interceptor.logview.drawing import bytes_text, ranges_text
from interceptor.logview.joining import READ_BYTES_MAX, READ_RECORDS_MAX
from interceptor.logview.source import LogSource
from storage_backends.backend import Fact
from storage_backends.errors import LogDamagedError, LogError
from storage_backends.file.directory import FACTS_NAME
from storage_backends.file.facts import load_facts
from storage_backends.file.inspection import Damage, SegmentInspection, damages_of, inspected_segments
from storage_backends.file.repair_plan import fact_versions
from storage_backends.records import Event, Outcome, Quarantine, Record

UNANSWERED_KEPT_MAX = 1_000_000
"""Versions whose outcome may still come; older ones are taken as unanswered, which bounds the memory."""

_RANGES_MAX = 10_000


class Coverage:
    """Which events have an outcome, and which are quarantined."""

    def __init__(self) -> None:
        self.quarantined: set[int] = set()
        self._open: set[int] = set()
        self._given_up: list[tuple[int, int]] = []
        self._given_up_events = 0

    def take(self, records: list[Record], first_version: int, next_version: int) -> None:
        """Take records, among which are the events `first_version` … `next_version` − 1."""
        self._open.update(range(first_version, next_version))
        self._open.difference_update([record[0] for record in records if type(record) is Outcome])
        for record in records:
            if type(record) is Quarantine:
                self.quarantined.add(record.version)
        if len(self._open) > UNANSWERED_KEPT_MAX:
            oldest = sorted(self._open)[: UNANSWERED_KEPT_MAX // 2]
            self._open.difference_update(oldest)
            self._given_up_events += len(oldest)
            self._given_up = (self._given_up + _ranges(oldest))[:_RANGES_MAX]

    @property
    def unanswered_events(self) -> int:
        return self._given_up_events + len(self._open)

    def unanswered(self) -> list[tuple[int, int]]:
        """Return the ranges of versions without an outcome."""
        return (self._given_up + _ranges(sorted(self._open)))[:_RANGES_MAX]


@dataclass
class Verification:
    """What was found."""

    first_version: int = 1
    last_version: int = 0
    events: int = 0
    records: int = 0
    segments: int | None = None
    size_bytes: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    damages: list[Damage] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as an object."""
        return {
            "good": not self.damages,
            "first_version": self.first_version,
            "last_version": self.last_version,
            "events": self.events,
            "records": self.records,
            "segments": self.segments,
            "size_bytes": self.size_bytes,
            "unanswered_events": self.coverage.unanswered_events,
            "unanswered": self.coverage.unanswered(),
            "quarantined": sorted(self.coverage.quarantined),
            "damages": [damage._asdict() for damage in self.damages],
        }

    def as_lines(self) -> list[str]:
        """Return it as a person reads it, without the verdict."""
        segments = "" if self.segments is None else f" in {self.segments} segments"
        trimmed = "" if self.first_version == 1 else f" (events below {self.first_version} were trimmed)"
        versions = f"{self.first_version} to {self.last_version}{trimmed}" if self.events else f"none{trimmed}"
        unanswered = self.coverage.unanswered()
        outcomes = f"{self.events - self.coverage.unanswered_events} of {self.events} events have one"
        if unanswered:
            outcomes += f"; none: {ranges_text(unanswered)}"
        quarantined = ranges_text(_ranges(sorted(self.coverage.quarantined))) or "none"
        return [
            f"events       {versions}: {self.events} events, {self.records} records",
            f"size         {bytes_text(self.size_bytes)}{segments}",
            f"outcomes     {outcomes}",
            f"quarantined  {quarantined}",
        ]


def verify_directory(directory: Path, progress: Callable[[int, int], None]) -> Verification:
    """Check a file log; `progress` is told how many bytes of how many are done.

    Raises LogConfigurationError: there is no log, or it is of a newer format.
    """
    result = Verification()
    segments = inspected_segments(directory)
    # Before the segments are read: a log that is being written only grows meanwhile.
    facts = _facts(directory, result)
    read: list[SegmentInspection] = []
    total_bytes = sum(segment.size_bytes for segment in segments)
    for at, segment in enumerate(segments):
        try:
            for records in segment.blocks():
                first, result.events = result.events, result.events
                _take(result, records)
                progress(_estimate(result.size_bytes, segment, total_bytes), total_bytes)
        except FileNotFoundError:
            if _was_trimmed(directory, segment):
                read.clear()
                continue
            result.damages.append(Damage(str(segment.path), 0, "the segment has vanished while the log was read"))
        read.append(segment)
        result.size_bytes += segment.size_bytes
    result.damages += damages_of(read)
    return result
