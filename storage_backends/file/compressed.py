"""A compressed segment: independent zstd frames, and behind them an index (docs/log-format.md has the diagram).

`zstd -d` makes the segment of it again, because the index stands in a skippable frame (RFC 8878, 3.1.2).  Each block
begins at a frame of the log, so that reading can begin at each of them.
"""

from __future__ import annotations

import errno
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c

SUFFIX = ".zst"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LEVEL = 3

_SKIPPABLE = struct.Struct("<II")
_SKIPPABLE_MAGIC = 0x184D2A50
_ENTRY = struct.Struct("<IIQI")
_END = struct.Struct("<II8s")
_END_MAGIC = b"\xf5ILZIX\r\n"


class Block(NamedTuple):
    """A part of the segment: where it stands in the file and in the segment, and the event expected at its start."""

    file_offset_bytes: int
    stored_bytes: int
    offset_bytes: int
    size_bytes: int
    next_version: int
    crc: int


def compressed_path(path: Path) -> Path:
    """Return where the segment is kept when it is compressed."""
    return path.with_name(path.name + SUFFIX)


def compress_blocks(pieces: Iterable[tuple[int, bytes]]) -> Iterable[bytes]:
    """Yield the file's content for the segment's pieces, each with the event expected at its start.

    Each piece is unpacked again and compared before it is believed.  Raises OSError (EIO) if they differ.
    """
    zstd = _zstandard()
    compressor, decompressor = zstd.ZstdCompressor(level=LEVEL, write_checksum=True), zstd.ZstdDecompressor()
    entries = []
    for next_version, data in pieces:
        stored = compressor.compress(data)
        if decompressor.decompress(stored, max_output_size=len(data)) != data:
            raise OSError(errno.EIO, "what was compressed does not unpack to the same bytes")
        entries.append(_ENTRY.pack(len(stored), len(data), next_version, google_crc32c.value(stored)))
        yield stored
    index = b"".join(entries)
    yield _SKIPPABLE.pack(_SKIPPABLE_MAGIC, len(index) + _END.size)
    yield index
    yield _END.pack(len(index), google_crc32c.value(index), _END_MAGIC)


class CompressedFile:
    """A compressed segment, read by the offsets of its uncompressed bytes. Implements SegmentFile."""

    __slots__ = ("_block", "_blocks", "_data", "_decompress", "_fd")

    def __init__(self, path: Path) -> None:
        """Raises OSError; EBADMSG where the index is damaged or cut off."""
        self._decompress = _zstandard().ZstdDecompressor().decompress
        self._block: Block | None = None
        self._data = b""
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._blocks = _read_index(self._fd)
        except BaseException:
            os.close(self._fd)
            raise

    def pread(self, length_bytes: int, offset_bytes: int) -> bytes:
        """Return the bytes there. Raises OSError; EBADMSG where a block is damaged, if none before it was asked for."""
        pieces: list[bytes] = []
        at = max(0, bisect_right(self._blocks, offset_bytes, key=_offset) - 1)
        for block in self._blocks[at:]:
            begin = offset_bytes - block.offset_bytes
            if length_bytes <= 0 or begin < 0:
                break
            try:
                piece = self._read(block)[begin : begin + length_bytes]
            except OSError:
                if pieces:
                    break
                raise
            pieces.append(piece)
            offset_bytes += len(piece)
            length_bytes -= len(piece)
        return b"".join(pieces)

    def size_bytes(self) -> int:
        last = self._blocks[-1]
        return last.offset_bytes + last.size_bytes

    def place(self, version: int) -> tuple[int, int] | None:
        at = bisect_left(self._blocks, version, key=_next_version) - 1
        # The first block begins with the segment's header.
        return (self._blocks[at].next_version, self._blocks[at].offset_bytes) if at > 0 else None

    def close(self) -> None:
        os.close(self._fd)

    def _read(self, block: Block) -> bytes:
        if self._block is not block:
            stored = os.pread(self._fd, block.stored_bytes, block.file_offset_bytes)
            if google_crc32c.value(stored) != block.crc:
                raise OSError(errno.EBADMSG, f"the compressed block at byte {block.file_offset_bytes} is damaged")
            self._data = self._decompress(stored, max_output_size=block.size_bytes)
            self._block = block
        return self._data


def _read_index(fd: int) -> list[Block]:
    file_bytes = os.fstat(fd).st_size
    end = os.pread(fd, _END.size, max(0, file_bytes - _END.size))
    damaged = OSError(errno.EBADMSG, "the index of the compressed segment is damaged or cut off")
    if len(end) < _END.size:
        raise damaged
    index_bytes, crc, magic = _END.unpack(end)
    begin_bytes = file_bytes - _END.size - index_bytes
    if magic != _END_MAGIC or index_bytes % _ENTRY.size or not index_bytes or begin_bytes < _SKIPPABLE.size:
        raise damaged
    index = os.pread(fd, index_bytes, begin_bytes)
    skippable = os.pread(fd, _SKIPPABLE.size, begin_bytes - _SKIPPABLE.size)
    blocks, at_bytes, offset_bytes = [], 0, 0
    for stored_bytes, size_bytes, next_version, block_crc in _ENTRY.iter_unpack(index):
        blocks.append(Block(at_bytes, stored_bytes, offset_bytes, size_bytes, next_version, block_crc))
        at_bytes += stored_bytes
        offset_bytes += size_bytes
    is_whole = at_bytes == begin_bytes - _SKIPPABLE.size and _SKIPPABLE.unpack(skippable) == (
        _SKIPPABLE_MAGIC,
        index_bytes + _END.size,
    )
    if google_crc32c.value(index) != crc or not is_whole:
        raise damaged
    return blocks


def _zstandard() -> Any:
    # Whoever compresses nothing need not wait for this library.
    import zstandard  # noqa: PLC0415

    return zstandard


def _offset(block: Block) -> int:
    return block.offset_bytes


def _next_version(block: Block) -> int:
    return block.next_version
