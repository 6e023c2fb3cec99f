"""Room that is prepared behind a segment's end: zeros, written ahead.

A flush of bytes that replace others, already flushed, needs not record that the file has grown, which makes it about
twice as cheap.  No frame begins with zeros, so what stands there is told from records.
"""

from __future__ import annotations

from storage_backends.file.segment_file import SegmentFile

CHUNK_BYTES = 512 * 1024
LOW_BYTES = 128 * 1024
"""With less room than this left, room is prepared up to `CHUNK_BYTES` behind the segment's end."""

ZEROS = bytes(CHUNK_BYTES)

_BLOCK_BYTES = 256 * 1024


def written_end_bytes(file: SegmentFile, begin_bytes: int, end_bytes: int) -> int:
    """Return the offset behind the last byte between the two offsets that is not zero; `begin_bytes` if none is."""
    while end_bytes > begin_bytes:
        block_begin = max(begin_bytes, end_bytes - _BLOCK_BYTES)
        written = file.pread(end_bytes - block_begin, block_begin).rstrip(b"\0")
        if written:
            return block_begin + len(written)
        end_bytes = block_begin
    return begin_bytes
