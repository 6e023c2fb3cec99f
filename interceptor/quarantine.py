"""Quarantine: the events that no incarnation gets any more, and how they come to be there."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from interceptor.counters import Counters
from interceptor.delivery import Delivery
from interceptor.errors import NotPossibleNowError
from interceptor.journal import Journal
from interceptor.poison import PoisonWatch
from interceptor.projector import Projector

logger = logging.getLogger(__name__)

RELEASED = "unquarantined"
REASON = "the target died each time while this event was the first unanswered one"


def not_quarantined(version: int, quarantined: Collection[int]) -> str:
    """Say that there is nothing to release."""
    those = ", ".join(map(str, sorted(quarantined))) or "none"
    return f"event {version} is not quarantined; quarantined are: {those}"


class Quarantined:
    """The quarantined versions.  `poison` finds the event to blame for a death."""

    def __init__(self, journal: Journal, projector: Projector, counters: Counters, quarantine_after: int) -> None:
        self.versions: set[int] = set()
        self.poison = PoisonWatch(quarantine_after)
        self._journal = journal
        self._projector = projector
        self._counters = counters

    def load(self) -> None:
        """Take over what was quarantined before our start."""
        quarantined = self._journal.facts.get("quarantined")
        if isinstance(quarantined, list):
            self.versions.update(version for version in quarantined if isinstance(version, int))

    def blame(self, unanswered: Sequence[Delivery], lived_s: float) -> None:
        """The target died with these sent and unanswered, so long into its recovery: quarantine one, if it must be."""
        if unanswered:
            first, last = unanswered[0].event.version, unanswered[-1].event.version
            logger.info("the target died with the events %d to %d unanswered", first, last)
        guilty = self.poison.died_with(unanswered, self._projector.suspects(unanswered), lived_s)
        if guilty is not None:
            self._quarantine(guilty)

    def release(self, version: int) -> None:
        """The next incarnation gets it again.  Raises NotPossibleNowError if it is not quarantined."""
        if version not in self.versions:
            raise NotPossibleNowError(not_quarantined(version, self.versions))
        self.versions.remove(version)
        self._journal.append_mark(RELEASED, self._journal.last_version, event=version)
        self._journal.store_fact("quarantined", [*sorted(self.versions)])
        logger.warning("event %d is taken out of quarantine: the next incarnation gets it", version)

    def _quarantine(self, version: int) -> None:
        logger.error("event %d is quarantined: %s", version, REASON)
        self.versions.add(version)
        self._counters.quarantined += 1
        self._journal.append_quarantine(version, REASON)
        self._journal.store_fact("quarantined", [*sorted(self.versions)])
        live = self._projector.withdraw(version)
        if live is not None:
            live.take_refusal(502, f"event {version} is quarantined: {REASON}")
