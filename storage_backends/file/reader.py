"""A cursor over the segments: finds its place by the names, then reads forward block by block.

What is still in the ring is taken from there.  Files are read up to the place where the ring begins, and a reader that
the ring has overtaken goes on in the file where its last batch ended, so the hand-over is exact both ways.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from storage_backends.codec import SealedEvent, Unsealer, blank, locked
from storage_backends.errors import LogDamagedError, LogError, LogGapError
from storage_backends.file.catalogue import SegmentSource
from storage_backends.file.recent import RecentBatch, RecentBatches
from storage_backends.file.segment import HEADER_BYTES, Segment, check_header, versions_text
from storage_backends.file.segment_file import open_segment_file, stored_path
from storage_backends.file.stream import FrameStream
from storage_backends.records import Event, Record

RARE_RECORD_BYTES = 64


class FileReader:
    """Implements LogReader. Keeps one descriptor and one decoded block.

    An error is final: each later call raises it again.  A segment stays readable while it is open here, even if it is
    trimmed meanwhile.
    """

    def __init__(
        self,
        source: SegmentSource,
        from_version: int,
        unseal: Unsealer = locked,
        recent: RecentBatches | None = None,
    ) -> None:
        self._unseal = unseal
        self._recent = recent
        # The batch that comes next, and the last one read, as long as it reads from the ring.
        self._number = recent.number_for(from_version) if recent else None
        self._last_recent: RecentBatch | None = None
        self._source = source
        self._from_version = from_version
        self._segment = source.find(from_version)
        self._stream: FrameStream | None = None
        self._ready: list[Record] = []
        self._ready_at = 0
        self._previous_bytes = 0
        self._error: LogError | None = None
        self._closed = False

    async def next_batch(self, events_max: int, bytes_max: int) -> list[Record]:
        if self._closed:
            raise ValueError("the reader is closed")
        while self._ready_at >= len(self._ready):
            if self._error:
                raise self._error
            try:
                more = self._read_block()
            except LogError as error:
                self._error = error
                raise
            if not more:
                return []
            if not self._ready:
                # Skipping through a segment is work without an answer; others get their turn between the blocks.
                await asyncio.sleep(0)
        return self._take(events_max, bytes_max)

    def close(self) -> None:
        self._closed = True
        self._ready = []
        self._close_stream()

    def _close_stream(self) -> None:
        if self._stream:
            self._stream.file.close()
            self._stream = None

    def _take(self, events_max: int, bytes_max: int) -> list[Record]:
        ready, begin = self._ready, self._ready_at
        end = begin
        last = min(len(ready), begin + max(1, events_max))
        size_bytes = 0
        while end < last and (size_bytes < bytes_max or end == begin):
            record = ready[end]
            size_bytes += len(record.head) + len(record.body) if type(record) is Event else RARE_RECORD_BYTES
            end += 1
        self._ready_at = end
        return ready[begin:end]

    def _read_block(self) -> bool:
        """Decode the next block into `_ready` (empty if all of it is skipped); False at the end of the log."""
        if self._recent is not None and (batch := self._next_recent(self._recent)) is not None:
            self._ready = self._unskipped([*batch.records], batch.next_version, batch.next_version + batch.events)
            self._ready_at = 0
            return True
        if self._number is not None:
            return False
        stream = self._stream or self._open(self._segment)
        expected_version = stream.next_version
        records = self._read_stream(stream)
        if not records:
            following = self._following(stream)
            if following is None:
                return False
            # Only now is it sure that nobody writes to this segment any more, so it is looked at once again.
            records = self._read_stream(stream)
            if not records:
                self._go_on(stream, following)
                return True
        self._ready = self._unskipped(records, expected_version, stream.next_version)
        self._ready_at = 0
        return True

    def _next_recent(self, recent: RecentBatches) -> RecentBatch | None:
        """Return the next batch from the ring; None if the file is to be read, or (`_number` is set) at the end."""
        if self._number is None:
            if self._stream is None:
                return None
            self._number = recent.number_at((self._segment.first_version, self._stream.offset_bytes))
            if self._number is None:
                return None
            self._close_stream()
        batch = recent.get(self._number)
        if batch is not None:
            self._number += 1
            self._last_recent = batch
        elif self._number < recent.end:
            self._leave_ring()
        return batch

    def _leave_ring(self) -> None:
        """The ring has dropped what comes next: go on in the file."""
        self._number = None
        batch, self._last_recent = self._last_recent, None
        if batch is not None:
            self._segment = batch.segment
            self._open(batch.segment, (batch.next_version + batch.events, batch.end_bytes))

    def _read_stream(self, stream: FrameStream) -> list[Record]:
        end_bytes = self._source.end_bytes(self._segment, stream.file)
        begin = self._recent.begin if self._recent is not None else None
        if begin is not None and begin[0] == self._segment.first_version and stream.offset_bytes < begin[1]:
            end_bytes = begin[1]
        return stream.read(end_bytes) if self._source.ends_on_frames else stream.read_live(end_bytes)

    def _following(self, stream: FrameStream) -> Segment | None:
        """Return the segment behind this one; None at the end of the log. Raises LogDamagedError."""
        following = self._source.after(self._segment)
        if following is not None:
            return following
        if stream.problem:
            raise stream.damage(stream.problem)
        if self._source.ends_on_frames and stream.offset_bytes < self._source.end_bytes(self._segment, stream.file):
            raise stream.damage("the frame runs past the end of the segment")
        return None

    def _go_on(self, stream: FrameStream, following: Segment) -> None:
        """Leave a segment that was read to its end. Raises LogDamagedError, LogGapError."""
        # Prepared room may be left behind the end, which the next segment's header confirms below.
        if not stream.ends(self._source.end_bytes(self._segment, stream.file)):
            raise stream.damage(stream.problem or "the segment ends within a frame")
        if following.first_version != stream.next_version:
            if self._source.first_version > stream.next_version:
                raise self._gap(stream.next_version)
            raise _discontinuity(stream, following)
        end_bytes, path = stream.offset_bytes, stream.path
        self._open(following)
        if self._previous_bytes != end_bytes:
            raise LogDamagedError(
                f"the segment ends here, but had {self._previous_bytes} bytes when the next one was begun: records are"
                " missing at its end, restore it from a copy; nothing was touched",
                place=str(stored_path(path)),
                offset_bytes=end_bytes,
            )

    def _open(self, segment: Segment, place: tuple[int, int] | None = None) -> FrameStream:
        try:
            file = open_segment_file(segment.path)
        except FileNotFoundError as missing:
            raise self._absent(segment) from missing
        except OSError as error:
            raise _unreadable(segment.path, error) from error
        try:
            self._previous_bytes = check_header(file.pread(HEADER_BYTES, 0), segment.path, segment.first_version)
        except OSError as error:
            file.close()
            raise _unreadable(segment.path, error) from error
        except Exception:
            file.close()
            raise
        next_version, offset_bytes = (
            place or segment.index.place(self._from_version) or file.place(self._from_version) or segment.begin
        )
        self._close_stream()
        self._segment = segment
        self._stream = FrameStream(file, segment.path, offset_bytes, next_version, self._unseal_wanted)
        return self._stream

    def _unseal_wanted(self, sealed: SealedEvent) -> Event:
        """Open what is not skipped: the key of what nobody asked for may be gone."""
        return self._unseal(sealed) if sealed.version >= self._from_version else blank(sealed)

    def _unskipped(self, records: list[Record], expected_version: int, next_version: int) -> list[Record]:
        """Return the records behind the event `from_version` − 1."""
        if expected_version >= self._from_version:
            return records
        if next_version < self._from_version:
            return []
        for at, record in enumerate(records):
            if type(record) is Event and record.version == self._from_version - 1:
                return records[at + 1 :]
        return records

    def _absent(self, segment: Segment) -> LogGapError | LogDamagedError:
        if self._source.first_version > segment.first_version:
            return self._gap(segment.first_version)
        return LogDamagedError(
            "the segment is missing, restore it from a copy", place=str(segment.path), offset_bytes=0
        )

    def _gap(self, version: int) -> LogGapError:
        return LogGapError(f"version {version} was trimmed; the first version kept is {self._source.first_version}")


def check_from_version(from_version: int, first_version: int, last_version: int, place: str) -> None:
    """Raise LogGapError unless a reader can begin there."""
    if from_version < first_version:
        raise LogGapError(f"{place}: version {from_version} was trimmed; the first version kept is {first_version}")
    if from_version > last_version + 1:
        raise LogGapError(f"{place}: version {from_version} is not yet in the log, which ends at {last_version}")


def _discontinuity(stream: FrameStream, following: Segment) -> LogError:
    if following.first_version < stream.next_version:
        return LogDamagedError(
            f"the segment begins with version {following.first_version}, which stands before it in {stream.path.name}:"
            " it is a copy, or of another log; nothing was touched",
            place=str(stored_path(following.path)),
            offset_bytes=0,
        )
    missing = versions_text(stream.next_version, following.first_version - 1)
    return LogDamagedError(
        f"the segment ends here, and {following.path.name} follows: {missing} missing, with the end of this segment or"
        " a segment between the two; restore it from a copy; nothing was touched",
        place=str(stored_path(stream.path)),
        offset_bytes=stream.offset_bytes,
    )


def _unreadable(path: Path, error: OSError) -> LogDamagedError:
    return LogDamagedError(
        f"the segment can't be read ({error.strerror})", place=str(stored_path(path)), offset_bytes=0
    )
