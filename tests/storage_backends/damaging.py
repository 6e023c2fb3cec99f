"""How the tests look into a file log and damage it."""

from __future__ import annotations

from pathlib import Path

from storage_backends.codec import FRAME_MAGIC


def segments(place: Path) -> list[Path]:
    return sorted(place.glob("*.log"))


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in segments(place)}


def frames(path: Path) -> list[int]:
    """Return the offsets of the segment's frames."""
    data = path.read_bytes()
    return [at for at in range(len(data)) if data.startswith(FRAME_MAGIC, at)]


def flip(path: Path, at: int, bits: int = 0x01) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= bits
    path.write_bytes(data)


def truncate(path: Path, length_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:length_bytes])
