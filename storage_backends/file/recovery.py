"""Opening a log: what the end of the last segment means.

A crash can only leave a torn tail: a frame that is cut off or garbled, with no good frame behind it.  That is cut at
the last whole frame.  Zeros behind the last whole frame are no tail but room that the writer had prepared.  A bad frame
that is followed by a good one is damage of another kind, and cutting there would lose acknowledged events, so it is
refused (design rule 8).  One exception: a loss of power may leave zeros in prepared room where pages of an unfinished
flush were to come, with later pages behind them.  Notes behind each completed flush tell that nothing there was
acknowledged.  Only the last segment is read: opening takes the same time whatever the log's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from storage_backends.codec import (
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    Unsealer,
    blank,
    flushed_note_at,
    frame_bytes,
    has_good_crc,
)
from storage_backends.errors import LogDamagedError
from storage_backends.file.segment import HEADER_BYTES, Segment, check_header
from storage_backends.file.segment_file import open_segment_file
from storage_backends.file.stream import FrameStream

SEARCH_BUDGET_FACTOR = 64
"""The search for good frames reads no more than so many times the tail: a request's body may consist of magics."""

SECTOR_BYTES = 512


class Scan(NamedTuple):
    """The state of a last segment: its whole frames, and behind them a torn tail, explained by `problem`.

    `file_bytes` may be more than both: room that its writer had prepared.
    """

    whole_bytes: int
    torn_bytes: int
    file_bytes: int
    last_version: int
    problem: str


class Recovery(NamedTuple):
    """What was cut from a log when it was opened."""

    path: str
    offset_bytes: int
    cut_bytes: int
    problem: str

    def __str__(self) -> str:
        return f"cut a torn tail of {self.cut_bytes} bytes from {self.path} at byte {self.offset_bytes}: {self.problem}"


def scan_end(segments: Sequence[Segment], unseal: Unsealer = blank) -> list[Scan]:
    """Scan segments from the last one backwards, up to the first one that holds a record or stands alone.

    A crash in the birth of a segment leaves it without a record, and the one before may be torn as well, since its
    flush was still to come.  Changes nothing on the disk. Raises as `scan_last_segment`.
    """
    scans = []
    for segment in reversed(segments):
        scans.append(scan_last_segment(segment, unseal))
        if scans[-1].whole_bytes > HEADER_BYTES:
            break
    return scans


def scan_last_segment(segment: Segment, unseal: Unsealer = blank) -> Scan:
    """Read the segment to its end and fill its sparse index; changes nothing on the disk.

    `whole_bytes` is 0 where the segment was torn in its birth, before its header was written.
    Raises LogDamagedError, LogConfigurationError (newer format), LogKeyError (`unseal` lacks a key).
    """
    file = open_segment_file(segment.path)
    try:
        file_bytes = file.size_bytes()
        header = file.pread(HEADER_BYTES, 0)
        if len(header) < HEADER_BYTES or not header.strip(b"\0"):
            _check_no_frame(
                FrameStream(file, segment.path, 0, segment.first_version), file_bytes, "the header is missing"
            )
            return Scan(0, file_bytes, file_bytes, segment.first_version - 1, "the segment's header was never written")
        check_header(header, segment.path, segment.first_version)
        stream = FrameStream(file, segment.path, HEADER_BYTES, segment.first_version, unseal)
        while stream.read(file_bytes):
            segment.index.note(stream.next_version, stream.offset_bytes)
        problem = stream.problem or "the last frame is cut off"
        written_bytes = stream.written_end_bytes(file_bytes)
        if stream.offset_bytes < written_bytes:
            if not stream.can_be_torn:
                raise stream.damage(problem)
            if not _is_unflushed_hole(stream, written_bytes, file_bytes):
                _check_no_frame(stream, file_bytes, problem)
        whole_bytes = stream.offset_bytes
        return Scan(whole_bytes, written_bytes - whole_bytes, file_bytes, stream.next_version - 1, problem)
    finally:
        file.close()


def _is_unflushed_hole(stream: FrameStream, written_bytes: int, file_bytes: int) -> bool:
    """Tell whether sectors of zeros stand in the bad frame, behind everything that was ever known to be flushed.

    A completed flush leaves no such hole, and so does a flipped bit.  Without room behind the end the log was closed in
    order, after a flush of all of it; without a note a former release wrote it, and nothing is known.
    """
    if written_bytes == file_bytes:
        return False
    begin_bytes = stream.offset_bytes
    header = stream.file.pread(FRAME_HEADER_BYTES, begin_bytes)
    length_bytes = (frame_bytes(header) or 0) if header.startswith(FRAME_MAGIC) else 0
    end_bytes = min(begin_bytes + max(length_bytes, FRAME_HEADER_BYTES), written_bytes)
    first = begin_bytes - begin_bytes % SECTOR_BYTES
    sectors = stream.file.pread(end_bytes - first + SECTOR_BYTES, first)
    # What stands before the frame in its first sector is good, and was there before it.
    parts = (
        sectors[max(at, begin_bytes) - first : at - first + SECTOR_BYTES]
        for at in range(first, end_bytes, SECTOR_BYTES)
    )
    if all(part.strip(b"\0") for part in parts):
        return False
    noted_bytes = _noted_bytes(stream.file.pread(written_bytes, 0))
    return noted_bytes is not None and noted_bytes <= begin_bytes


def _noted_bytes(data: bytes) -> int | None:
    """Return how far the notes in the segment say that it was flushed; None without one."""
    noted_bytes, at = None, data.find(FRAME_MAGIC)
    while at >= 0:
        note = flushed_note_at(data, at)
        if note is not None and has_good_crc(data, at):
            noted_bytes = max(note, noted_bytes or 0)
        at = data.find(FRAME_MAGIC, at + 1)
    return noted_bytes


def _check_no_frame(stream: FrameStream, file_bytes: int, problem: str) -> None:
    """Raise LogDamagedError if a good frame stands anywhere behind the stream's offset."""
    tail = stream.file.pread(file_bytes - stream.offset_bytes, stream.offset_bytes)
    budget_bytes = SEARCH_BUDGET_FACTOR * len(tail)
    at = tail.find(FRAME_MAGIC, 1)
    while at >= 0:
        good = has_good_crc(tail, at)
        budget_bytes -= _checked_bytes(tail, at)
        if good or budget_bytes < 0:
            found = f"good frames follow at byte {stream.offset_bytes + at}" if good else "what follows can't be judged"
            raise LogDamagedError(
                f"{problem}, but {found}, so this is no torn write; nothing was touched. Restore the segment from a"
                f" copy, or give up everything from there on: truncate -s {stream.offset_bytes} {stream.path}",
                place=str(stream.path),
                offset_bytes=stream.offset_bytes,
            )
        at = tail.find(FRAME_MAGIC, at + 1)


def _checked_bytes(tail: bytes, at: int) -> int:
    length_bytes = frame_bytes(tail[at : at + 12])
    return length_bytes if length_bytes is not None and at + length_bytes <= len(tail) else 0
