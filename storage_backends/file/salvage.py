"""Behind a bad frame: where good frames go on, and whether an event was lost in between."""

from __future__ import annotations

from typing import NamedTuple

import msgpack

from storage_backends.codec import (
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    KIND_EVENT,
    KIND_SEALED,
    PAYLOAD_BYTES_MAX,
    blank,
    decode_frames,
    frame_bytes,
    has_good_crc,
)
from storage_backends.file.recovery import SEARCH_BUDGET_FACTOR

_EVENT_SHAPES = ((5, KIND_EVENT), (6, KIND_SEALED))


class Resumption(NamedTuple):
    """Good frames go on at `offset_bytes`; `version` is the first event among them, None if there is none.

    `exact` means that the bad frames' own lengths lead there.  Only then what stands there is surely no frame that
    was part of a request's body.
    """

    offset_bytes: int
    version: int | None
    exact: bool


def find_resumption(data: bytes, next_version: int) -> Resumption | None:
    """Search `data`, which begins with a bad frame, for frames that can be read as the log's continuation."""
    behind_bytes = _skip_by_length(data, next_version)
    found = _search(data, behind_bytes or 0, next_version)
    if found is None:
        return None
    offset_bytes, version = found
    return Resumption(offset_bytes, version, behind_bytes is not None and offset_bytes == behind_bytes)


def _skip_by_length(data: bytes, next_version: int) -> int | None:
    """Return the offset to which the lengths of the bad frames lead: that of a good one, else None."""
    at = 0
    while data.startswith(FRAME_MAGIC, at):
        length_bytes = _whole_frame_bytes(data, at)
        if length_bytes is None:
            return None
        version = _version_at(data, at, length_bytes)
        if version is not None and (version == 0 or version >= next_version):
            return at
        at += length_bytes
    return None


def _search(data: bytes, begin_bytes: int, next_version: int) -> tuple[int, int | None] | None:
    budget_bytes = SEARCH_BUDGET_FACTOR * len(data)
    candidate: int | None = None
    at = data.find(FRAME_MAGIC, begin_bytes)
    while at >= 0 and budget_bytes >= 0:
        length_bytes = _whole_frame_bytes(data, at)
        budget_bytes -= length_bytes or 0
        version = _version_at(data, at, length_bytes) if length_bytes else None
        if version is None or not length_bytes:
            at = data.find(FRAME_MAGIC, at + 1)
            continue
        if version >= next_version:
            return (at if candidate is None else candidate), version
        if version:
            candidate = None
        elif candidate is None:
            candidate = at
        at = data.find(FRAME_MAGIC, at + length_bytes)
    return None if candidate is None else (candidate, None)


def _whole_frame_bytes(data: bytes, at: int) -> int | None:
    length_bytes = frame_bytes(data[at : at + FRAME_HEADER_BYTES])
    if length_bytes is None or length_bytes > FRAME_HEADER_BYTES + PAYLOAD_BYTES_MAX or at + length_bytes > len(data):
        return None
    return length_bytes


def _version_at(data: bytes, at: int, length_bytes: int) -> int | None:
    """Return the version of the good event at the offset, 0 for another good record, None for anything else."""
    if not has_good_crc(data, at):
        return None
    frame = data[at : at + length_bytes]
    try:
        fields = msgpack.unpackb(frame[FRAME_HEADER_BYTES:])
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return None
    if isinstance(fields, list) and (len(fields), fields[0]) in _EVENT_SHAPES and type(fields[1]) is int:
        version: int = fields[1]
        return version if version > 0 and decode_frames(frame, version, blank).records else None
    return 0 if decode_frames(frame, 0).records else None
