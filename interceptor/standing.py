"""How the target stands towards the log: which incarnation it is, what it holds, and what is in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import time

from interceptor.counters import Counters
from interceptor.delivery import Delivery
from interceptor.journal import Journal
from storage_backends.backend import Fact

STORED_AFTER_S = 0.25


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
        # We supervise it: it never outlives us.
        self.dies_with_us = False
        self._storing: asyncio.TimerHandle | None = None
        # How many requests are held, and the longest of them for how many seconds.
        self.holding: Callable[[], tuple[int, float]] = _nothing_held
        self.held_at_return = (0, 0.0)
        self._journal = journal
        self._counters = counters

    def in_step(self) -> None:
        """The incarnation holds every event of the log: remember which one it is, also for our next start."""
        journal = self._journal
        assert self.identity is not None
        self.held_at_return = self.holding()
        self.incarnations += 1
        if self.incarnations > 1:
            # It was about the one that we met.
            self.note = None
        self.since_s = time()
        is_another = journal.facts.get("incarnation") != self.identity
        known: dict[str, Fact] = {
            "clean_stop": None, "projecting": None, "serving": self.serving, "incarnation": self.identity,
            "uncertain": self._doubt_as_fact(),
        }  # fmt: skip
        if is_another:
            # Nothing up to here is in doubt for it, however old a slow lane's last event may be (see `uncertainty`).
            known["in_step_version"] = journal.last_version
        if any(journal.facts.get(name) != value for name, value in known.items()):
            journal.facts.update(known)
            if self.dies_with_us:
                # Our next start starts another one whatever the facts say: who is held need not wait for a flush.
                loop = asyncio.get_running_loop()
                self._storing = loop.call_later(STORED_AFTER_S, journal.store_fact, "incarnation", self.identity)
            else:
                journal.store_fact("incarnation", self.identity)
        if is_another:
            journal.append_mark("incarnation", journal.last_version, identity=self.identity)

    def stop(self) -> None:
        """The log is going to be closed."""
        if self._storing is not None:
            self._storing.cancel()

    def projecting(self) -> None:
        """From now on the incarnation holds a part of the log only; our next start must not begin again with it."""
        if self._journal.facts.get("projecting") != self.identity:
            self._journal.store_fact("projecting", self.identity)

    def doubt(self, low: int, high: int, events: int) -> None:
        """It is not known whether the incarnation has applied the events from `low` to `high`."""
        self.uncertain = (min(low, self.uncertain[0]), max(high, self.uncertain[1])) if self.uncertain else (low, high)
        self._counters.uncertain += events
        self._journal.store_fact("uncertain", self._doubt_as_fact())

    def recall_doubt(self) -> None:
        """This incarnation was there before our start: what was in doubt of it then still is, however we stopped."""
        fact = self._journal.facts.get("uncertain")
        if isinstance(fact, dict) and fact.get("incarnation") == self.identity:
            low, high = fact.get("low"), fact.get("high")
            if isinstance(low, int) and isinstance(high, int):
                self.uncertain = (low, high)

    def _doubt_as_fact(self) -> Fact:
        if self.uncertain is None:
            return None
        return {"incarnation": self.identity, "low": self.uncertain[0], "high": self.uncertain[1]}


def versions_of(deliveries: Sequence[Delivery]) -> list[int]:
    """Return the versions of what was delivered, as they come."""
    return [delivery.event.version for delivery in deliveries]


def _nothing_held() -> tuple[int, float]:
    """Nobody is asked yet."""
    return 0, 0.0
