"""Compressed images: what comes out is what went in, or it is an error."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from interceptor.checkpoint.packing import Stop, in_thread, pack, unpack

CONTENTS = {"pages-1.img": os.urandom(3 << 20) + bytes(5 << 20), "core-1.img": b"core", "empty.img": b""}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    directory = tmp_path / "images"
    directory.mkdir()
    for name, content in CONTENTS.items():
        (directory / name).write_bytes(content)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_was_packed_is_unpacked(images: Path, tmp_path: Path) -> None:
    """Smaller meanwhile, with nothing left of the originals; what an earlier attempt has left goes."""
    pack(images, Stop())
    packed = contents(images)
    assert sorted(packed) == sorted(f"{name}.zst" for name in CONTENTS)
    assert sum(map(len, packed.values())) < 4 << 20
    unpack(images, tmp_path / "again", Stop())
    (tmp_path / "again" / "left.img").touch()
    unpack(images, tmp_path / "again", Stop())
    assert contents(tmp_path / "again") == CONTENTS
    assert contents(images) == packed


@pytest.mark.parametrize("damage", ["flipped", "short", "foreign"])
def test_damage_is_no_image(images: Path, tmp_path: Path, damage: str) -> None:
    """RFC 8878 §3.1.1: a frame ends with the checksum of its content."""
    pack(images, Stop())
    path = images / "pages-1.img.zst"
    packed = bytearray(path.read_bytes())
    if damage == "flipped":
        packed[len(packed) // 2] ^= 1
        path.write_bytes(packed)
    elif damage == "short":
        path.write_bytes(packed[:-100])
    else:
        path.rename(images / "pages-1.img")
    with pytest.raises(ValueError, match=r"pages-1\.img"):
        unpack(images, tmp_path / "again", Stop())


async def test_who_is_cancelled_has_ended() -> None:
    """Nobody writes into a directory that is about to be removed."""
    running, stopped = threading.Event(), threading.Event()

    def work(stop: Stop) -> None:
        running.set()
        stop.wait(30.0)
        stopped.set()
        stop.check()

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(running.wait, 30.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped.is_set()
