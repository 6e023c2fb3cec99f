"""Poison: an event that kills the target again and again is quarantined, so that the others live.

The event to blame for a death is the first that was sent and not answered.  After a death with several under way the
suspects are delivered one at a time, which makes the blame of the next death exact.
"""

from __future__ import annotations

from collections.abc import Sequence

from interceptor.delivery import Delivery


class PoisonWatch:
    """Counts deaths by the event that was being answered."""

    def __init__(self, quarantine_after: int) -> None:
        self._quarantine_after = quarantine_after
        self._blamed_version = 0
        self._deaths = 0
        self.serial = range(0)

    def died_with(self, sent_unanswered: Sequence[Delivery]) -> int | None:
        """Note a death; return the version to quarantine, if it has come to that."""
        if not sent_unanswered:
            return None
        first = sent_unanswered[0].event.version
        self._deaths = self._deaths + 1 if first == self._blamed_version else 1
        self._blamed_version = first
        self.serial = range(first, sent_unanswered[-1].event.version + 1)
        if self._deaths < self._quarantine_after:
            return None
        self._deaths = 0
        return first

    def survived(self) -> None:
        """The target holds everything again."""
        self._deaths = 0
        self._blamed_version = 0
        self.serial = range(0)
