"""A directory of images, compressed where it is: each file becomes one frame of Zstandard (RFC 8878) with a checksum.

It blocks, so it runs in a thread, which looks at `Stop` between two pieces: the directory must not be removed under it.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

SUFFIX = ".zst"
_PIECE_BYTES = 1024 * 1024
# Memory of programs becomes a third or less at this level already, at the speed of a disk.
_LEVEL = 1
_FRAME_HEADER_BYTES_MAX = 18


class Stop(threading.Event):
    """Says to a thread that nobody wants its work any more."""

    def check(self) -> None:
        """Raise InterruptedError when it is set."""
        if self.is_set():
            raise InterruptedError("no longer wanted")


async def in_thread(work: Callable[[Stop], None]) -> None:
    """Run `work` in a thread; when cancelled, stop it and wait until it has stopped.  Raises what it raises."""
    stop = Stop()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({running})
        raise


def pack(directory: Path, stop: Stop) -> None:
    """Replace each file of `directory` by its compressed one.  Raises OSError."""
    compressor = _zstandard().ZstdCompressor(level=_LEVEL, write_checksum=True)
    for path in sorted(directory.iterdir()):
        with (
            path.open("rb") as source,
            path.with_name(path.name + SUFFIX).open("xb") as file,
            compressor.stream_writer(file, size=path.stat().st_size, closefd=False) as packed,
        ):
            _copy(source.read, packed.write, stop)
        path.unlink()


def unpack(directory: Path, into: Path, stop: Stop) -> None:
    """Make `into` a directory of what was packed.  Raises OSError, and ValueError for what was not packed."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(0o700)
    zstd = _zstandard()
    for path in sorted(directory.iterdir()):
        if path.suffix != SUFFIX:
            raise ValueError(f"{path} is not compressed")
        try:
            with (
                path.open("rb") as packed,
                (into / path.stem).open("xb") as file,
                zstd.ZstdDecompressor().stream_reader(packed) as source,
            ):
                _copy(source.read, file.write, stop)
                # A frame that was cut off is no error of the library's.
                packed.seek(0)
                if file.tell() != zstd.frame_content_size(packed.read(_FRAME_HEADER_BYTES_MAX)):
                    raise ValueError(f"{path} is not whole")
        except zstd.ZstdError as error:
            raise ValueError(f"{path} can't be decompressed: {error}") from error


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], object], stop: Stop) -> None:
    while piece := read(_PIECE_BYTES):
        stop.check()
        write(piece)


def _zstandard() -> Any:
    # A library of C that only those load who compress.
    import zstandard  # noqa: PLC0415

    return zstandard
