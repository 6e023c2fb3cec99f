"""Looking at a file log without opening it: what each segment holds, and every damage, not only the first.

Nothing is locked or changed, so this works beside the writer.  What looks like a torn end is looked at again for
`patience_s`: a writer in the middle of a frame goes on, a crash does not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from storage_backends.codec import Unsealer, blank
from storage_backends.errors import LogConfigurationError, LogDamagedError
from storage_backends.file.directory import list_segments
from storage_backends.file.salvage import find_resumption
from storage_backends.file.segment import HEADER_BYTES, Segment, check_header, versions_text
from storage_backends.file.segment_file import SegmentFile, open_segment_file, stored_path
from storage_backends.file.stream import FrameStream
from storage_backends.records import Event, Record

PATIENCE_S = 0.2
_LOOKS = 4


class Hole(NamedTuple):
    """Bytes of a segment that can't be read as the log's continuation.

    `next_version` was expected there; `resumed_version` is the first event behind it, None if none follows in the
    segment.  `exact`: see `salvage.Resumption`.
    """

    offset_bytes: int
    end_bytes: int
    problem: str
    next_version: int
    resumed_version: int | None
    exact: bool


class Damage(NamedTuple):
    """One thing that is wrong: where, what, and what is gone by it."""

    place: str
    offset_bytes: int
    problem: str

    def __str__(self) -> str:
        return f"{self.place} at byte {self.offset_bytes}: {self.problem}"


class SegmentInspection:
    """What one segment holds.  Complete once `blocks` is exhausted."""

    def __init__(self, segment: Segment, *, is_last: bool, patience_s: float, unseal: Unsealer = blank) -> None:
        self._unseal = unseal
        self.path = segment.path
        self.first_version = segment.first_version
        self.next_version = segment.first_version
        self.is_last = is_last
        self.size_bytes = segment.end_bytes
        self.stored_bytes = segment.stored_bytes
        self.records = 0
        self.events = 0
        self.first_time_ns: int | None = None
        self.last_time_ns: int | None = None
        self.previous_bytes: int | None = None
        self.header_problem: str | None = None
        self.holes: list[Hole] = []
        self._patience_s = patience_s

    @property
    def damaged(self) -> bool:
        return bool(self.holes or self.header_problem)

    def blocks(self) -> Iterator[list[Record]]:
        """Yield the records that can be read. Raises LogConfigurationError (newer format), FileNotFoundError."""
        file = self._opened()
        if file is None:
            return
        try:
            stream = FrameStream(file, self.path, min(HEADER_BYTES, self.size_bytes), self.first_version, self._unseal)
            while True:
                before_version = stream.next_version
                records = stream.read(self.size_bytes)
                if records:
                    self._count(records, stream.next_version - before_version)
                    self.next_version = stream.next_version
                    yield records
                    continue
                if stream.offset_bytes >= self.size_bytes:
                    # The file may have grown since it was listed.
                    grown_bytes = file.size_bytes()
                    if grown_bytes <= self.size_bytes:
                        break
                    self.size_bytes = grown_bytes
                    continue
                if stream.ends(self.size_bytes):
                    self.size_bytes = stream.offset_bytes
                    break
                following = self._grown(file, stream) or self._behind(file, stream)
                if following is None:
                    break
                stream = following
        finally:
            file.close()

    def _opened(self) -> SegmentFile | None:
        """Open the file and read its header; note a hole of all of it where that can't be done."""
        file = None
        try:
            file = open_segment_file(self.path)
            self._await_header(file)
            self._read_header(file)
        except FileNotFoundError:
            raise
        except OSError as error:
            self.holes.append(Hole(0, self.size_bytes, str(error.strerror), self.first_version, None, False))
            if file is not None:
                file.close()
            return None
        return file

    def _read_header(self, file: SegmentFile) -> None:
        header = file.pread(HEADER_BYTES, 0)
        try:
            self.previous_bytes = check_header(header, self.path, self.first_version)
        except LogDamagedError as error:
            prefix = f"{error.place} at byte {error.offset_bytes}: "
            self.header_problem = str(error).removeprefix(prefix).removesuffix("; nothing was touched")

    def _await_header(self, file: SegmentFile) -> None:
        """Give a writer that has just created the segment the time to write its beginning."""
        for _ in range(_LOOKS if self.is_last and self._patience_s > 0 else 0):
            if self.size_bytes >= HEADER_BYTES:
                return
            time.sleep(self._patience_s / _LOOKS)
            self.size_bytes = file.size_bytes()

    def _grown(self, file: SegmentFile, stream: FrameStream) -> FrameStream | None:
        """Look again at the end of the last segment, as long as it may be in the middle of a write."""
        for _ in range(_LOOKS if self.is_last and self._patience_s > 0 else 0):
            time.sleep(self._patience_s / _LOOKS)
            self.size_bytes = file.size_bytes()
            again = FrameStream(file, self.path, stream.offset_bytes, stream.next_version, self._unseal)
            records = again.read(self.size_bytes)
            if records or again.ends(self.size_bytes):
                return FrameStream(file, self.path, stream.offset_bytes, stream.next_version, self._unseal)
        return None

    def _behind(self, file: SegmentFile, stream: FrameStream) -> FrameStream | None:
        """Note the hole at the stream's place; return a stream behind it, None if nothing good follows."""
        offset_bytes, next_version = stream.offset_bytes, stream.next_version
        problem = stream.problem or "the frame is cut off"
        try:
            tail = file.pread(self.size_bytes - offset_bytes, offset_bytes)
        except OSError as error:
            tail, problem = b"", f"the disk can't read it ({error.strerror})"
        found = find_resumption(tail, next_version)
        if found is None:
            if tail:
                self.size_bytes = offset_bytes + len(tail.rstrip(b"\0"))
            self.holes.append(Hole(offset_bytes, self.size_bytes, problem, next_version, None, False))
            return None
        resumed_bytes = offset_bytes + found.offset_bytes
        self.holes.append(Hole(offset_bytes, resumed_bytes, problem, next_version, found.version, found.exact))
        return FrameStream(file, self.path, resumed_bytes, found.version or next_version, self._unseal)

    def _count(self, records: list[Record], events: int) -> None:
        self.records += len(records)
        if not events:
            return
        self.events += events
        if self.first_time_ns is None:
            self.first_time_ns = next(record.time_ns for record in records if type(record) is Event)
        self.last_time_ns = next(record.time_ns for record in reversed(records) if type(record) is Event)


def inspected_segments(
    directory: Path, patience_s: float = PATIENCE_S, unseal: Unsealer = blank
) -> list[SegmentInspection]:
    """Return the segments of the log in the directory, still to be read. Raises LogConfigurationError if none is.

    `unseal` may not fail: a sealed event is no damage to a segment, whatever is in it.
    """
    try:
        segments = list_segments(directory)
        names = sorted(os.listdir(directory)) if not segments else []
    except FileNotFoundError as error:
        raise LogConfigurationError(f"there is no log in {directory}: the directory does not exist") from error
    except NotADirectoryError as error:
        raise LogConfigurationError(f"there is no log in {directory}: it is a file, not a directory") from error
    except OSError as error:
        raise LogConfigurationError(f"the log in {directory} can't be read: {error.strerror}") from error
    if not segments:
        held = f"it holds {names[0]!r} and no segment" if names else "the directory is empty"
        raise LogConfigurationError(f"there is no log in {directory}: {held}")
    last = len(segments) - 1
    return [
        SegmentInspection(segment, is_last=at == last, patience_s=patience_s, unseal=unseal)
        for at, segment in enumerate(segments)
    ]


def damages_of(segments: list[SegmentInspection]) -> list[Damage]:
    """Return what is wrong in and between segments that have been read, in the log's order."""
    damages: list[Damage] = []
    before: SegmentInspection | None = None
    for segment in segments:
        place = str(stored_path(segment.path))
        if before is not None:
            damages += _between(before, segment)
        if segment.header_problem:
            damages.append(Damage(place, 0, segment.header_problem))
        for hole in segment.holes:
            damages.append(Damage(place, hole.offset_bytes, f"{hole.problem}; {_lost(hole)}"))
        before = segment
    return damages


def _between(before: SegmentInspection, segment: SegmentInspection) -> list[Damage]:
    place, gap = str(stored_path(segment.path)), (before.next_version, segment.first_version - 1)
    if segment.first_version > before.next_version and not before.holes:
        problem = (
            f"the segment ends here, and {segment.path.name} follows: {versions_text(*gap)} missing, with the end of "
            "this segment or a segment between the two"
        )
        return [Damage(str(stored_path(before.path)), before.size_bytes, problem)]
    if segment.first_version > before.next_version:
        return [Damage(place, 0, f"{versions_text(*gap)} missing before this segment")]
    if segment.first_version < before.next_version:
        return [Damage(place, 0, f"the segment begins with version {segment.first_version}, which stands before it")]
    if segment.previous_bytes is not None and segment.previous_bytes != before.size_bytes:
        problem = (
            f"the segment ends here, but had {segment.previous_bytes} bytes when the next one was begun: records other "
            "than events are missing or doubled at its end"
        )
        return [Damage(str(stored_path(before.path)), before.size_bytes, problem)]
    return []


def _lost(hole: Hole) -> str:
    unread_bytes = hole.end_bytes - hole.offset_bytes
    if hole.resumed_version is None:
        return f"{unread_bytes} bytes can't be read, no event follows in this segment"
    if hole.resumed_version == hole.next_version:
        return f"{unread_bytes} bytes can't be read, which hold no event: the versions go on behind them"
    return f"{unread_bytes} bytes can't be read, {versions_text(hole.next_version, hole.resumed_version - 1)} in them"
