"""When the next sync starts in strict durability: at once, or when the clients that the last one covered are back.

One sync covers everything that arrived while the one before it was under way.  If the next one started at once each
time, two groups of clients would take turns, each paying for a sync of its own.  So it waits for the clients whose
events the last one has made durable: until all have asked again, or none of them has for `commit_delay_us`.  Clients
that don't come back soon (they think, they have gone, the target is slow) are found out so, and waited for more and
more rarely.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from interceptor.counters import Counters
from interceptor.short_timer import ShortTimer

if TYPE_CHECKING:
    from interceptor.client_transport import ClientTransport

logger = logging.getLogger(__name__)

# A wait ends after so many times `commit_delay_us`, although clients are still coming back.
ROUND_DELAYS_MAX = 4
# It was in vain if more than one in so many clients did not come back.
MISSING_MAX = 8
# After so many waits in vain one sync in 64 is waited with.
FAILURES_MAX = 6


class GroupCommit:
    """Knows whose events the last sync covered and who of them is back.  `start()` is called after a wait."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, delay_us: int, counters: Counters, start: Callable[[], None]
    ) -> None:
        self._counters = counters
        self._delay_s = delay_us / 1e6
        self._start = start
        self._timer = _timer(loop, self._due) if delay_us else None
        # The versions that the last sync made durable, the first of them excluded.
        self._covered_from = 0
        self._covered_to = 0
        # How many clients have an event that no sync covers yet, and one that the present sync covers.
        self._asking = 0
        self._syncing = 0
        self._gathers = False
        self._awaited = 0
        self._missing = 0
        # When the last one came back, and when the wait ends in any case.
        self._heard_s = 0.0
        self._until_s = 0.0
        self._failures = 0
        self._pause_syncs = 0

    def asked(self, client: ClientTransport, version: int) -> None:
        """A client's request has got its version."""
        if self._timer is None:
            return
        previous = client.last_version
        client.last_version = version
        if previous > self._covered_to:
            # It asks before it has its answer, so nobody needs to wait for it.
            return
        self._asking += 1
        if self._gathers and previous > self._covered_from:
            self._missing -= 1
            now_s = monotonic()
            if now_s < self._heard_s + self._delay_s:
                self._heard_s = now_s

    def sync_starts(self) -> None:
        """Nothing is waited for any more."""
        self._gathers = False
        self._syncing, self._asking = self._asking, 0
        if self._timer is not None:
            self._timer.stop()

    def sync_ended(self, durable_version: int) -> None:
        """Decide whether the next sync waits for the clients of this one."""
        self._covered_from, self._covered_to = self._covered_to, durable_version
        self._gathers = self._timer is not None and not self._pause_syncs
        if self._pause_syncs:
            self._pause_syncs -= 1
        if self._gathers:
            self._awaited = self._missing = self._syncing
            self._heard_s = monotonic()
            self._until_s = self._heard_s + ROUND_DELAYS_MAX * self._delay_s

    def may_start(self) -> bool:
        """Whether a sync starts now; if not, `start` is called in time, unless this is asked again and true before."""
        timer = self._timer
        if timer is None or not self._gathers:
            return True
        if self._missing <= 0:
            self._failures = 0
            return True
        if timer.running:
            return False
        left_us = self._left_us()
        if left_us <= 0:
            self._give_up()
            return True
        self._counters.commit_delays += 1
        timer.start(left_us)
        return False

    def close(self) -> None:
        """Release the timer."""
        if self._timer is not None:
            self._timer.close()

    def _left_us(self) -> int:
        return int((min(self._heard_s + self._delay_s, self._until_s) - monotonic()) * 1e6)

    def _due(self) -> None:
        left_us = self._left_us()
        if left_us > 0 and self._timer is not None:
            self._timer.start(left_us)
            return
        self._give_up()
        self._start()

    def _give_up(self) -> None:
        self._gathers = False
        if MISSING_MAX * self._missing > self._awaited:
            self._failures = min(self._failures + 1, FAILURES_MAX)
            self._pause_syncs = 1 << self._failures
        else:
            self._failures = 0


def _timer(loop: asyncio.AbstractEventLoop, due: Callable[[], None]) -> ShortTimer | None:
    """Return a timer, None where the system has none: then every sync starts at once."""
    try:
        return ShortTimer(loop, due)
    except OSError as error:
        logger.warning("syncs don't wait for more to cover, as with --commit-delay-us 0: %s", error)
        return None
