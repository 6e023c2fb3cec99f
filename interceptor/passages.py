"""What goes past the log: safe reads under --record unsafe, bypassed routes, upgrades, and the admin on the same port.

Each has a connection to the target to itself while it lasts; reads take theirs from a pool.  Design rule 2 holds here
too: what the target sends is passed on once everything that was delivered before it is durable, because it may show
effects of that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from interceptor.address import Target
from interceptor.counters import Counters
from interceptor.limits import Limits
from interceptor.passage import Passage
from interceptor.passed_exchange import ATTEMPTS_MAX, PassedExchange
from interceptor.release_gate import ReleaseGate
from interceptor.routing import Route
from interceptor.tasks import TaskGroup

if TYPE_CHECKING:
    from interceptor.admission import Admission

# A connection that was cut is gone with one of the next turns of the event loop.
CUT_POLL_S = 0.001
# Before the third and the fourth attempt.  A dying process closes its descriptors one after the other and is seen to
# have ended only then: until that is settled (see target.judgement), all attempts would run into the same death.
SETTLE_S = (0.01, 0.05)


class Passages:
    """Opens, pools and counts the connections beside the lane."""

    def __init__(
        self,
        target: Target,
        gate: ReleaseGate,
        limits: Limits,
        counters: Counters,
        delivered_version: Callable[[], int],
    ) -> None:
        self.admission: Admission
        self.admin: Target
        # Takes what clients may not say out of a head, where there is such a thing.
        self.clean_head: Callable[[bytes], bytes] | None = None
        self.on_target_unreachable: Callable[[], None] = _ignore
        self.on_idle: Callable[[], None] | None = None
        self.gate = gate
        self.limits = limits
        self.counters = counters
        self.delivered_version = delivered_version
        self._target = target
        self._idle: deque[tuple[float, Passage]] = deque()
        self._queue: deque[PassedExchange] = deque()
        self._reads = 0
        self._connecting = 0
        # Grows with each suspicion that the target has died.
        self._suspicions = 0
        self._open: set[Passage] = set()
        self._tasks = TaskGroup("passages")

    @property
    def reads_in_flight(self) -> int:
        """Pooled requests that a drain waits for."""
        return self._reads

    @property
    def tunnels(self) -> int:
        """Connections that have left HTTP."""
        return sum(1 for passage in self._open if passage.tunnelled)

    def start(self, exchange: PassedExchange) -> None:
        """Send the request on its way."""
        if exchange.client is None:
            return
        if exchange.route is Route.READ:
            if self._reads >= self.limits.pool_connections_max:
                self.counters.limits_reached["pool_connections_max"] += 1
                self._queue.append(exchange)
                return
            self._reads += 1
            exchange.pooled = True
        elif len(self._open) + self._connecting >= self.limits.pool_connections_max + self.limits.tunnels_max:
            self.counters.limits_reached["tunnels_max"] += 1
            exchange.refuse(503, f"{self.limits.tunnels_max} connections beside the log are open already")
            return
        if exchange.attempts == 0:
            self._count(exchange.route)
        exchange.attempts += 1
        # What can't be sent again must not run into a connection that the target is about to close.
        if exchange.route is Route.READ and exchange.attempts == 1 and exchange.repeatable:
            passage = self._take_idle()
            if passage is not None:
                passage.begin(exchange)
                return
        # Counted from here: by the time that the task runs, the target may be suspected already.
        self._tasks.start(self._connect(exchange, self._suspicions))

    def ended(self, passage: Passage, exchange: PassedExchange, *, reusable: bool) -> None:
        """An exchange is over; its connection may serve another read."""
        if exchange.route is Route.READ and reusable:
            self._idle.append((monotonic(), passage))
        self.release(exchange)

    def broke(self, exchange: PassedExchange, detail: str) -> None:
        """The target's connection was lost before the answer was complete, or could not be made."""
        suspicions = self._suspicions
        if exchange.client is not None and not exchange.cut_short and exchange.route is not Route.ADMIN:
            self.on_target_unreachable()
        again = exchange.client is not None and exchange.repeatable and exchange.attempts < ATTEMPTS_MAX
        if again and not exchange.cut_short and exchange.attempts > 1 and suspicions == self._suspicions:
            self._tasks.start(self._settle(exchange))
            return
        self.release(exchange)
        if exchange.client is None:
            return
        if exchange.cut_short:
            exchange.refuse(400, "the request ended before its content was complete (RFC 9112 §8)")
        elif again:
            self._put_back(exchange)
        else:
            exchange.refuse(502, detail)

    def target_suspected(self) -> None:
        """The target may have died: what has got no answer yet waits until it is known to be in step.

        Where a master keeps the listening socket, a connection that the dead one had not accepted is accepted by its
        successor, which is empty still and would answer so.
        """
        self._suspicions += 1
        taken = [exchange for passage in list(self._open) if (exchange := passage.take_back_read()) is not None]
        taken.extend(self._queue)
        self._queue.clear()
        for exchange in taken:
            self.release(exchange)
        # The last one first: each is put in front of the others.
        for exchange in sorted(taken, key=_arrived, reverse=True):
            self._put_back(exchange)

    def forget(self, passage: Passage) -> None:
        """A connection has closed."""
        self._open.discard(passage)
        self._idle = deque(item for item in self._idle if item[1] is not passage)

    def close_idle(self) -> None:
        """Close the pool: the incarnation is over, or a checkpoint wants no connection open."""
        idle, self._idle = self._idle, deque()
        for _, passage in idle:
            passage.abort()

    async def cut_all(self) -> None:
        """Cut every connection to the target, also those that a drain does not wait for; their clients notice."""
        self.close_idle()
        while to_target := [passage for passage in self._open if not passage.to_admin]:
            for passage in to_target:
                passage.cut()
            await asyncio.sleep(CUT_POLL_S)

    async def close(self) -> None:
        """Cut everything."""
        await self._tasks.cancel_all()
        for passage in list(self._open):
            passage.abort()

    def _count(self, route: Route) -> None:
        if route is Route.READ:
            self.counters.unrecorded += 1
        elif route is Route.BYPASS:
            self.counters.bypassed += 1
        elif route is Route.UPGRADE:
            self.counters.tunnels += 1

    def _take_idle(self) -> Passage | None:
        # The newest first; what has been idle for long is not used again, so that the race with the server's own
        # keep-alive timeout is not run.
        while self._idle:
            since_s, passage = self._idle.pop()
            if monotonic() - since_s < self.limits.lane_idle_max_s and passage.usable:
                return passage
            passage.abort()
        return None

    def release(self, exchange: PassedExchange) -> None:
        """A read is over, or was given up: the next one may go; may be told twice."""
        if not exchange.pooled:
            return
        exchange.pooled = False
        self._reads -= 1
        while self._queue and self._reads < self.limits.pool_connections_max:
            self.start(self._queue.popleft())
        if self._reads == 0 and self.on_idle is not None:
            self.on_idle()

    async def _connect(self, exchange: PassedExchange, suspicions: int) -> None:
        self._connecting += 1
        try:
            async with asyncio.timeout(self.limits.connect_timeout_s):
                to = self.admin if exchange.route is Route.ADMIN else self._target
                _, passage = await to.connect(lambda: Passage(self))
        except (OSError, TimeoutError) as error:
            self._not_connected(exchange, suspicions, f"no connection to {self._target}: {error}")
            return
        finally:
            self._connecting -= 1
        self._open.add(passage)
        if exchange.client is None:
            passage.abort()
            self.release(exchange)
            return
        if suspicions != self._suspicions and exchange.route is not Route.ADMIN:
            passage.abort()
            self._not_sent(exchange)
            return
        passage.begin(exchange)

    def _not_connected(self, exchange: PassedExchange, suspicions: int, detail: str) -> None:
        if exchange.client is not None and exchange.route is not Route.ADMIN:
            self.on_target_unreachable()
            if suspicions != self._suspicions:
                self._not_sent(exchange)
                return
        self.broke(exchange, detail)

    def _not_sent(self, exchange: PassedExchange) -> None:
        """The target is suspected and has got no byte of this: whatever it is, it may wait for the next one.

        The attempt does not count, since no death can be its fault.
        """
        self.release(exchange)
        exchange.attempts = max(1, exchange.attempts - 1)
        self._put_back(exchange)

    async def _settle(self, exchange: PassedExchange) -> None:
        """Ask again, but not at once.  A drain waits for it meanwhile."""
        await asyncio.sleep(SETTLE_S[min(exchange.attempts, len(SETTLE_S) + 1) - 2])
        self.release(exchange)
        if exchange.client is not None:
            self._put_back(exchange)

    def _put_back(self, exchange: PassedExchange) -> None:
        if exchange.stream is not None:
            exchange.stream.close()
            exchange.stream = None
        self.admission.put_back(exchange)


def _arrived(exchange: PassedExchange) -> float:
    return exchange.arrived_s


def _ignore() -> None:
    """Nobody listens yet."""
