"""Poison: an event that kills the target again and again is quarantined, so that the others live.

Under suspicion for a death are the events that the target may have been working on: the first of each lane that was
sent and not answered.  After a death the suspects are delivered one at a time over all lanes, which makes the blame of
the next death exact.
"""

from __future__ import annotations

from collections.abc import Sequence

from interceptor.delivery import Delivery


class PoisonWatch:
    """Counts deaths running by the events that were being answered."""

    def __init__(self, quarantine_after: int) -> None:
        self._quarantine_after = quarantine_after
        self._deaths: dict[int, int] = {}
        # Versions to be delivered one at a time.
        self.serial: set[int] = set()

    def died_with(self, sent_unanswered: Sequence[Delivery], suspects: Sequence[Delivery]) -> int | None:
        """Note a death; return the version to quarantine, if it has come to that.

        With a single suspect the ones behind it were in its lane, and are delivered one at a time as well: that costs
        little there, and the target may have begun them.
        """
        if not sent_unanswered:
            return None
        versions = [delivery.event.version for delivery in suspects]
        self._deaths = {version: self._deaths.get(version, 0) + 1 for version in versions}
        alone = len(versions) == 1
        self.serial.update(delivery.event.version for delivery in (sent_unanswered if alone else suspects))
        if not alone or self._deaths[versions[0]] < self._quarantine_after:
            return None
        return self._deaths.popitem()[0]

    def survived(self) -> None:
        """The target holds everything again."""
        self._deaths = {}
        self.serial = set()
