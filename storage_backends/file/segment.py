"""A segment file: its name, its header, and what is known of it in memory.

The name is the version of the segment's first event, zero padded, so that sorted names are the log's order and a
version is found by bisection.  The header repeats it, so that a renamed file is noticed, and tells the length of the
segment before, because outcomes carry no number by which their absence at its end would be seen.
"""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_left
from pathlib import Path

import google_crc32c

from storage_backends.errors import LogConfigurationError, LogDamagedError

SEGMENT_MAGIC = b"\xf5ILSEG\r\n"
FORMAT_VERSION = 1
HEADER_BYTES = 32
INDEX_STEP_BYTES = 64 * 1024

_FIELDS = struct.Struct("<8sIQQ")
_CRC = struct.Struct("<I")
_NAME = re.compile(r"(\d{20})\.log(\.zst)?")


def segment_name(first_version: int) -> str:
    """Return the file name of the segment whose first event is (or will be) `first_version`."""
    return f"{first_version:020}.log"


def parse_segment_name(name: str) -> int | None:
    """Return the first version that a segment's file name, compressed or not, tells; None for any other name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) or None if match else None


def encode_header(first_version: int, previous_bytes: int) -> bytes:
    """Return the 32 bytes that begin a segment which follows one of `previous_bytes` (0: follows none)."""
    fields = _FIELDS.pack(SEGMENT_MAGIC, FORMAT_VERSION, first_version, previous_bytes)
    return fields + _CRC.pack(google_crc32c.value(fields))


def check_header(header: bytes, path: Path, first_version: int) -> int:
    """Return the length of the segment before this one, which begins with these bytes.

    Raises LogDamagedError or LogConfigurationError unless they are the header of the segment `first_version`.

    Magic, format version and CRC keep their places in every future format, so damage and news are told apart.
    """
    if len(header) < HEADER_BYTES:
        raise LogDamagedError("the segment is shorter than its header", place=str(path), offset_bytes=len(header))
    magic, format_version, named_version, previous_bytes = _FIELDS.unpack_from(header)
    if magic != SEGMENT_MAGIC:
        raise LogDamagedError("this is not a segment of a log; nothing was touched", place=str(path), offset_bytes=0)
    if _CRC.unpack_from(header, _FIELDS.size)[0] != google_crc32c.value(header[: _FIELDS.size]):
        raise LogDamagedError("the segment's header is damaged; nothing was touched", place=str(path), offset_bytes=0)
    if format_version > FORMAT_VERSION:
        raise LogConfigurationError(
            f"{path} has format {format_version}, this program reads up to {FORMAT_VERSION}: use the newer release"
            " that wrote it; nothing was touched"
        )
    if named_version != first_version:
        problem = f"the header says version {named_version}, the name {first_version}: was the file renamed?"
        raise LogDamagedError(problem, place=str(path), offset_bytes=0)
    return int(previous_bytes)


def versions_text(first: int, last: int) -> str:
    """Return "event 5 is" or "events 5 to 9 are"."""
    return f"event {first} is" if first == last else f"events {first} to {last} are"


class SparseIndex:
    """Places in a segment from which reading can begin, about one in 64 KiB (16 bytes each)."""

    __slots__ = ("_next_versions", "_offsets_bytes")

    def __init__(self) -> None:
        self._next_versions = array("Q")
        self._offsets_bytes = array("Q")

    def clear(self) -> None:
        """Forget every place."""
        del self._next_versions[:], self._offsets_bytes[:]

    def note(self, next_version: int, offset_bytes: int) -> None:
        """Remember that a frame begins at the offset and the next event from there on is `next_version`."""
        if offset_bytes - (self._offsets_bytes[-1] if self._offsets_bytes else HEADER_BYTES) >= INDEX_STEP_BYTES:
            self._next_versions.append(next_version)
            self._offsets_bytes.append(offset_bytes)

    def places(self) -> list[tuple[int, int]]:
        """Return every known (next_version, offset)."""
        return [*zip(self._next_versions, self._offsets_bytes, strict=True)]

    def place(self, version: int) -> tuple[int, int] | None:
        """Return (next_version, offset) of the last known place before the event `version` − 1, if there is one."""
        at = bisect_left(self._next_versions, version) - 1
        return (self._next_versions[at], self._offsets_bytes[at]) if at >= 0 else None


class Segment:
    """One segment as its log knows it. `end_bytes` is the end of the last whole batch.

    `path` is that of its uncompressed file, which is gone where `stored_bytes`, the compressed one's size, is set.
    """

    __slots__ = ("end_bytes", "first_version", "index", "path", "stored_bytes")

    def __init__(self, path: Path, first_version: int, end_bytes: int) -> None:
        self.path = path
        self.first_version = first_version
        self.end_bytes = end_bytes
        self.stored_bytes: int | None = None
        self.index = SparseIndex()

    @property
    def begin(self) -> tuple[int, int]:
        """(next_version, offset) of its first frame."""
        return self.first_version, HEADER_BYTES

    @property
    def occupied_bytes(self) -> int:
        """What it takes of the disk, prepared room left out."""
        return self.end_bytes if self.stored_bytes is None else self.stored_bytes
