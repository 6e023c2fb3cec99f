"""How the target stands towards the log: which incarnation it is, what it holds, and what is in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from interceptor.counters import Counters
from interceptor.delivery import Delivery
from interceptor.journal import Journal


class Standing:
    """What is known of the present incarnation.  `problem` is set where only an operator, or another one, can help."""

    def __init__(self, journal: Journal, counters: Counters) -> None:
        self.identity: str | None = None
        # Which process of it serves the lane, where that can be seen (see `target.connection_owner`).
        self.serving: str | None = None
        self.since_s: float | None = None
        self.incarnations = 0
        self.uncertain: tuple[int, int] | None = None
        self.problem: str | None = None
        # What an operator should know, though nothing stands still for it.
        self.note: str | None = None
        self.last_recovery: dict[str, object] | None = None
        self._journal = journal
        self._counters = counters

    def in_step(self) -> None:
        """The incarnation holds every event of the log: remember which one it is, also for our next start."""
        journal = self._journal
        assert self.identity is not None
        self.incarnations += 1
        self.since_s = time()
        if journal.facts.get("clean_stop") is not None:
            journal.store_fact("clean_stop", None)
        if journal.facts.get("serving") != self.serving:
            journal.store_fact("serving", self.serving)
        if journal.facts.get("incarnation") != self.identity:
            # Stored together with the next: what this incarnation had got when it was in step.
            journal.facts["in_step_version"] = journal.last_version
            journal.store_fact("incarnation", self.identity)
            journal.append_mark("incarnation", journal.last_version, identity=self.identity)

    def doubt(self, low: int, high: int, events: int) -> None:
        """It is not known whether the incarnation has applied the events from `low` to `high`."""
        self.uncertain = (min(low, self.uncertain[0]), max(high, self.uncertain[1])) if self.uncertain else (low, high)
        self._counters.uncertain += events


def versions_of(deliveries: Sequence[Delivery]) -> list[int]:
    """Return the versions of what was delivered, as they come."""
    return [delivery.event.version for delivery in deliveries]
