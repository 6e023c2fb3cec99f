"""Which segments there are: the writer's own list, and the view of a directory that another process writes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from storage_backends.errors import LogConfigurationError
from storage_backends.file.directory import list_segments
from storage_backends.file.segment import HEADER_BYTES, Segment, SparseIndex
from storage_backends.file.segment_file import SegmentFile

INDEXED_SEGMENTS_MAX = 64
"""Only the newest segments keep their sparse index (16 KiB for 64 MiB), so memory does not grow with the log."""


class SegmentSource(Protocol):
    """What a reader asks."""

    def find(self, version: int) -> Segment:
        """Return the segment in which the event `version` stands or will stand."""
        ...

    def after(self, segment: Segment) -> Segment | None:
        """Return the next segment in the order of names, if there is one."""
        ...

    def end_bytes(self, segment: Segment, file: SegmentFile) -> int:
        """Return how far the segment may be read now."""
        ...

    @property
    def first_version(self) -> int: ...

    @property
    def ends_on_frames(self) -> bool:
        """Whether `end_bytes` is known to be the end of a frame."""
        ...


class Catalogue:
    """The segments of a log, oldest first; never empty. Implements SegmentSource for the writer's own process."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._segments = list(segments)
        self._first_versions = [segment.first_version for segment in self._segments]
        self._finished_bytes = sum(segment.occupied_bytes for segment in self._segments[:-1])

    @property
    def ends_on_frames(self) -> bool:
        return True

    @property
    def first_version(self) -> int:
        return self._first_versions[0]

    @property
    def last(self) -> Segment:
        return self._segments[-1]

    @property
    def size_bytes(self) -> int:
        return self._finished_bytes + self._segments[-1].occupied_bytes

    def add(self, segment: Segment) -> None:
        """Take the segment into which the writer goes on."""
        self._finished_bytes += self.last.end_bytes
        self._segments.append(segment)
        self._first_versions.append(segment.first_version)
        if len(self._segments) > INDEXED_SEGMENTS_MAX:
            self._segments[-1 - INDEXED_SEGMENTS_MAX].index = SparseIndex()

    def note_stored(self, segment: Segment, stored_bytes: int) -> None:
        """A finished segment is compressed now."""
        self._finished_bytes += stored_bytes - segment.occupied_bytes
        segment.stored_bytes = stored_bytes

    def remove_below(self, version: int) -> list[Segment]:
        """Forget the segments all of whose events are below `version`, except the last; return them."""
        count = max(0, bisect_right(self._first_versions, version) - 1)
        removed = self._segments[:count]
        del self._segments[:count], self._first_versions[:count]
        self._finished_bytes -= sum(segment.occupied_bytes for segment in removed)
        return removed

    def find(self, version: int) -> Segment:
        return self._segments[max(0, bisect_right(self._first_versions, version) - 1)]

    def after(self, segment: Segment) -> Segment | None:
        at = bisect_right(self._first_versions, segment.first_version)
        return self._segments[at] if at < len(self._segments) else None

    def end_bytes(self, segment: Segment, file: SegmentFile) -> int:
        return segment.end_bytes


class DirectoryCatalogue:
    """The segments of a directory that another process may be writing. Implements SegmentSource.

    Raises LogConfigurationError if there are none.  The list is read again whenever a reader has come to an end,
    and the size of the file is the bound.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        segments = _born(list_segments(directory))
        if not segments:
            raise LogConfigurationError(f"there is no log in {directory}")
        self._catalogue = Catalogue(segments)

    @property
    def ends_on_frames(self) -> bool:
        return False

    @property
    def first_version(self) -> int:
        return self._catalogue.first_version

    @property
    def last(self) -> Segment:
        return self._catalogue.last

    @property
    def size_bytes(self) -> int:
        return self._catalogue.size_bytes

    def find(self, version: int) -> Segment:
        return self._catalogue.find(version)

    def after(self, segment: Segment) -> Segment | None:
        segments = _born(list_segments(self._directory))
        if segments:
            self._catalogue = Catalogue(segments)
        return self._catalogue.after(segment)

    def end_bytes(self, segment: Segment, file: SegmentFile) -> int:
        return file.size_bytes()


def _born(segments: list[Segment]) -> list[Segment]:
    """Leave out a last segment whose header its writer has yet to write."""
    return segments[:-1] if segments and segments[-1].end_bytes < HEADER_BYTES else segments
