"""The limits of a log: one small value that every opener takes."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from storage_backends.errors import LogConfigurationError

COMPRESSIONS = ("none", "zstd")
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What `open_log(url, **options)` accepts; a backend reads what concerns it.

    Raises LogConfigurationError for a value that is not a positive whole number.
    """

    segment_bytes_max: int = 32 * _MEBIBYTE
    """Bytes after which the file log begins a new segment. One batch may exceed it: batches are never split."""

    ring_events_max: int = 65_536
    """Entries that the ring keeps: an event, a mark, a tombstone, or the consecutive outcomes of one batch."""

    ring_bytes_max: int = 64 * _MEBIBYTE
    """Bytes of memory that the ring's entries may take, with what Python itself needs for them."""

    key_file: Path | None = None
    """Keys for what is kept at rest (docs/security.md); without it events are written in clear."""

    compression: str = "none"
    """`zstd`: the file log compresses its finished segments."""

    def __post_init__(self) -> None:
        for field in limit_fields():
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise LogConfigurationError(f"{field.name} must be a whole number above 0, not {value!r}")
        if self.compression not in COMPRESSIONS:
            raise LogConfigurationError(f"compression {self.compression!r}: choose {' or '.join(COMPRESSIONS)}")
        if self.compression != "none" and self.key_file is not None:
            raise LogConfigurationError("encrypted events don't get smaller by compression: leave one of the two out")


def limit_fields() -> list[Field[Any]]:
    """Return the fields that are numbers."""
    return [field for field in fields(LogOptions) if field.name not in ("key_file", "compression")]
