"""Are the keys here that a log needs?  Asked before anything of it is delivered, at little more cost than its names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from storage_backends.codec import Unsealer, decode_frames, frame_bytes
from storage_backends.errors import LogKeyError
from storage_backends.file.segment import HEADER_BYTES, Segment


def check_first_events(segments: Sequence[Segment], unseal: Unsealer) -> None:
    """Open the first event of each segment.  Raises LogKeyError if one can't be opened; other damage is not looked for.

    So a key that is missing is noticed unless it was both taken into use and replaced within one segment: then the
    reader meets it.
    """
    for segment in segments:
        # What the disk can't read is the reader's to report, behind everything that it can.
        with contextlib.suppress(OSError), segment.path.open("rb", buffering=0) as file:
            _check_first_event(segment, file.fileno(), unseal)


def _check_first_event(segment: Segment, fd: int, unseal: Unsealer) -> None:
    at = HEADER_BYTES
    while length_bytes := frame_bytes(os.pread(fd, HEADER_BYTES, at)):
        frame = os.pread(fd, max(0, min(length_bytes, segment.end_bytes - at)), at)
        decoded = decode_frames(frame, segment.first_version, unseal)
        if decoded.unseal_error is not None:
            raise LogKeyError(f"{segment.path}: {decoded.unseal_error}")
        if decoded.next_version > segment.first_version or not decoded.end_bytes:
            return
        at += length_bytes
