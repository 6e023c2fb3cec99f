"""The limits of a log: one small value that every opener takes."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from storage_backends.errors import LogConfigurationError

COMPRESSIONS = ("none", "zstd")
_MEBIBYTE = 1024 * 1024


def _limit(default: int, meaning: str) -> int:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What `open_log(url, **options)` accepts; a backend reads what concerns it.

    Raises LogConfigurationError for a value that is not a positive whole number.
    """

    segment_bytes_max: int = _limit(
        32 * _MEBIBYTE, "bytes of a file log's segment; then a new one begins (a batch is never split)"
    )
    # An entry is an event, a mark, a tombstone, or the consecutive outcomes of one batch.
    ring_events_max: int = _limit(65_536, "newest entries of the log in memory; more are held while none is durable")
    # With what Python itself needs for them.
    ring_bytes_max: int = _limit(64 * _MEBIBYTE, "bytes of these entries; more are held while none is durable")

    key_file: Path | None = None
    """Keys for what is kept at rest (docs/security.md); without it events are written in clear."""

    compression: str = "none"
    """`zstd`: the file log compresses its finished segments."""

    def __post_init__(self) -> None:
        for limit in limit_fields():
            value = getattr(self, limit.name)
            if type(value) is not int or value < 1:
                raise LogConfigurationError(f"{limit.name} must be a whole number above 0, not {value!r}")
        if self.compression not in COMPRESSIONS:
            raise LogConfigurationError(f"compression {self.compression!r}: choose {' or '.join(COMPRESSIONS)}")
        if self.compression != "none" and self.key_file is not None:
            raise LogConfigurationError("encrypted events don't get smaller by compression: leave one of the two out")


def limit_fields() -> list[Field[Any]]:
    """Return the fields that are numbers; each has a `meaning` among its metadata."""
    return [item for item in fields(LogOptions) if "meaning" in item.metadata]
