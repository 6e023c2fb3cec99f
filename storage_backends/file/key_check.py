"""Are the keys here that a log needs?  Asked before anything of it is delivered, at little more cost than its names."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from storage_backends.codec import Unsealer, decode_frames, frame_bytes
from storage_backends.errors import LogKeyError
from storage_backends.file.segment import HEADER_BYTES, Segment
from storage_backends.file.segment_file import SegmentFile, open_segment_file


def check_first_events(segments: Sequence[Segment], unseal: Unsealer) -> None:
    """Open the first event of each segment.  Raises LogKeyError if one can't be opened; other damage is not looked for.

    So a key that is missing is noticed unless it was both taken into use and replaced within one segment: then the
    reader meets it.
    """
    for segment in segments:
        # What the disk can't read is the reader's to report, behind everything that it can.
        with contextlib.suppress(OSError), contextlib.closing(open_segment_file(segment.path)) as file:
            _check_first_event(segment, file, unseal)


def _check_first_event(segment: Segment, file: SegmentFile, unseal: Unsealer) -> None:
    at = HEADER_BYTES
    while length_bytes := frame_bytes(file.pread(HEADER_BYTES, at)):
        frame = file.pread(max(0, min(length_bytes, segment.end_bytes - at)), at)
        decoded = decode_frames(frame, segment.first_version, unseal)
        if decoded.unseal_error is not None:
            raise LogKeyError(f"{segment.path}: {decoded.unseal_error}")
        if decoded.next_version > segment.first_version or not decoded.end_bytes:
            return
        at += length_bytes
