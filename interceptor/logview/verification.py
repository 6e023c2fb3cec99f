"""Is a log whole: every checksum, the versions, the segments, and what became of each event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interceptor.logview.drawing import bytes_text, ranges_text
from interceptor.logview.joining import READ_BYTES_MAX, READ_RECORDS_MAX
from interceptor.logview.selection import opened_source
from interceptor.logview.source import LogSource
from storage_backends.backend import Fact
from storage_backends.errors import LogDamagedError
from storage_backends.file.directory import FACTS_NAME, list_segments
from storage_backends.file.facts import load_facts
from storage_backends.file.inspection import Damage, SegmentInspection, damages_of, inspected_segments
from storage_backends.file.repair_plan import lost_end, missing_beginning
from storage_backends.file.stream import BLOCK_BYTES as READ_BLOCK_BYTES
from storage_backends.records import Event, Outcome, Quarantine, Record
from storage_backends.secrets import SealCheck, load_keyring

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

    def take(self, records: list[Record]) -> int:
        """Take the next records; return how many events are among them."""
        versions = [record.version for record in records if type(record) is Event]
        self._open.update(versions)
        self._open.difference_update([record[0] for record in records if type(record) is Outcome])
        for record in records:
            if type(record) is Quarantine:
                self.quarantined.add(record.version)
        if len(self._open) > UNANSWERED_KEPT_MAX:
            oldest = sorted(self._open)[: UNANSWERED_KEPT_MAX // 2]
            self._open.difference_update(oldest)
            self._given_up_events += len(oldest)
            self._given_up = (self._given_up + ranges_of(oldest))[:_RANGES_MAX]
        return len(versions)

    @property
    def unanswered_events(self) -> int:
        return self._given_up_events + len(self._open)

    def unanswered(self) -> list[tuple[int, int]]:
        """Return the ranges of versions without an outcome."""
        return (self._given_up + ranges_of(sorted(self._open)))[:_RANGES_MAX]


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
    seals: SealCheck = field(default_factory=lambda: SealCheck(None))
    is_trimmed: bool = True

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
            "sealed_events_unopened": self.seals.unopened_events,
            "damages": [damage._asdict() for damage in self.damages],
        }

    def as_lines(self) -> list[str]:
        """Return it as a person reads it, without the verdict."""
        segments = "" if self.segments is None else f" in {self.segments} segments"
        below = "were trimmed" if self.is_trimmed else "are missing"
        trimmed = "" if self.first_version == 1 else f" (events below {self.first_version} {below})"
        versions = f"{self.first_version} to {self.last_version}{trimmed}" if self.events else f"none{trimmed}"
        unanswered = self.coverage.unanswered()
        outcomes = f"{self.events - self.coverage.unanswered_events} of {self.events} events have one"
        if unanswered:
            outcomes += f"; none: {ranges_text(unanswered)}"
        quarantined = ranges_text(ranges_of(sorted(self.coverage.quarantined))) or "none"
        unopened = ", ".join(
            f"{count} with the key {key!r}" for key, count in sorted(self.seals.unopened_events.items())
        )
        sealed = [f"sealed       not looked into, for want of a key: {unopened}"] if unopened else []
        return [
            f"events       {versions}: {self.events} events, {self.records} records",
            f"size         {bytes_text(self.size_bytes)}{segments}",
            f"outcomes     {outcomes}",
            f"quarantined  {quarantined}",
            *sealed,
        ]


def verify_directory(
    directory: Path, progress: Callable[[int, int], None], key_file: Path | None = None
) -> Verification:
    """Check a file log; `progress` is told how many bytes of how many are done.  Sealed events are tried with the keys.

    Raises LogConfigurationError: there is no log, or it is of a newer format.
    """
    result = Verification()
    seals = result.seals = SealCheck(load_keyring(key_file))
    segments = inspected_segments(directory, unseal=seals)
    # Before the segments are read: a log that is being written only grows meanwhile.
    facts = _load_facts(directory, result)
    facts_readable = not result.damages
    read: list[SegmentInspection] = []
    total_bytes = sum(segment.size_bytes for segment in segments)
    for segment in segments:
        share, problems = segment.size_bytes, len(seals.problems)
        try:
            for records in segment.blocks():
                result.events += result.coverage.take(records)
                result.records += len(records)
                progress(min(share, READ_BLOCK_BYTES), total_bytes)
                share -= min(share, READ_BLOCK_BYTES)
        except FileNotFoundError:
            if not _was_trimmed(directory, segment):
                result.damages.append(Damage(str(segment.path), 0, "the segment vanished while the log was read"))
            continue
        progress(share, total_bytes)
        read.append(segment)
        result.damages += [Damage(str(segment.path), 0, problem) for problem in seals.problems[problems:]]
        result.size_bytes += segment.size_bytes
    result.segments = len(read)
    if read:
        result.first_version = read[0].first_version
        result.last_version = read[-1].next_version - 1
    result.damages += damages_of(read)
    _check_facts(result, facts, str(directory / FACTS_NAME))
    if read and facts_readable:
        # It may have been trimmed meanwhile, for which a newer checkpoint than those of before is the reason.
        _check_beginning(result, _load_facts(directory, result), str(directory))
    return result


async def verify_url(url: str, key_file: Path | None = None) -> Verification:
    """Check any other log by reading all of it. Raises LogError where it can't be read at all."""
    async with opened_source(url, key_file) as source:
        return await _verify_source(source, url)


async def _verify_source(source: LogSource, url: str) -> Verification:
    result = Verification(first_version=source.first_version, size_bytes=source.size_bytes)
    facts = source.load_facts()
    reader = source.reader(source.first_version)
    try:
        while records := await reader.next_batch(READ_RECORDS_MAX, READ_BYTES_MAX):
            result.events += result.coverage.take(records)
            result.records += len(records)
    except LogDamagedError as error:
        result.damages.append(Damage(error.place, error.offset_bytes, str(error)))
    finally:
        reader.close()
    result.last_version = result.first_version + result.events - 1
    _check_facts(result, facts, url)
    _check_beginning(result, source.load_facts(), url)
    return result


def _load_facts(directory: Path, result: Verification) -> dict[str, Fact]:
    try:
        return load_facts(directory)
    except LogDamagedError as error:
        result.damages.append(Damage(error.place, 0, "the facts about the log can't be read"))
        return {}


def _check_facts(result: Verification, facts: dict[str, Fact], place: str) -> None:
    """A log that is shorter than what was noted about it has lost its end (design rule 8)."""
    quarantined = facts.get("quarantined")
    if isinstance(quarantined, list):
        result.coverage.quarantined.update(version for version in quarantined if isinstance(version, int))
    lost = lost_end(facts, result.last_version)
    if lost is not None:
        result.damages.append(Damage(place, 0, lost))


def _check_beginning(result: Verification, facts: dict[str, Fact], place: str) -> None:
    """A log whose beginning nobody had a reason to trim has lost it: no recovery is possible (design rule 8)."""
    missing = missing_beginning(facts, result.first_version)
    if missing is not None:
        result.is_trimmed = False
        result.damages.append(Damage(place, 0, missing))


def _was_trimmed(directory: Path, segment: SegmentInspection) -> bool:
    left = list_segments(directory)
    return bool(left) and left[0].first_version > segment.first_version


def ranges_of(versions: Sequence[int]) -> list[tuple[int, int]]:
    """Return the ranges that sorted versions make up."""
    ranges: list[tuple[int, int]] = []
    for version in versions:
        if ranges and ranges[-1][1] == version - 1:
            ranges[-1] = (ranges[-1][0], version)
        else:
            ranges.append((version, version))
    return ranges
