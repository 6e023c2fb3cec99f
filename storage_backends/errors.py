"""Errors of the log: what happened, where, and what to do.

Every message names the place (directory, segment, offset, or URL) and the remedy, because the person who reads it
is usually on call.  Foreign errors (OSError, msgpack, a database driver) are converted to these at the border.
"""

from __future__ import annotations


class LogError(Exception):
    """Base class of every error that a log backend raises."""


class LogConfigurationError(LogError):
    """The URL or its options can't be used; nothing was touched."""


class LogLockedError(LogError):
    """Another process is the writer of this log (design rule 8: a second writer is refused)."""


class LogDamagedError(LogError):
    """A record is damaged in a place where a torn write can't explain it; nothing after it is delivered."""

    def __init__(self, message: str, *, place: str, offset_bytes: int) -> None:
        super().__init__(f"{place} at byte {offset_bytes}: {message}")
        self.place = place
        self.offset_bytes = offset_bytes


class LogKeyError(LogError):
    """An event is sealed with a key that was not given; the message names the key's id."""


class LogGapError(LogError):
    """The versions asked for are no longer (or not yet) in the log (design rule 8)."""


class LogUnavailableError(LogError):
    """The log can't take records now (no space left, database away). Nothing of the batch was kept; try again.

    `limit` names the limit that was reached, where it was one.
    """

    def __init__(self, message: str, *, limit: str | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class LogFailedError(LogError):
    """A sync failed, or a write left the log in an unknown state: nothing may be acknowledged any more (rule 9)."""
