"""Admission: a request passes, or it is held until the state is Active again.

What is held has no version: a 503 from here means that nothing happened and nothing will (design rule 3).  The queue is
first in, first out, and bounded in requests, bytes and seconds, as in Vitess' vtgate buffering.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from interceptor.counters import Counters
from interceptor.exchange import Exchange, RecordedExchange
from interceptor.limits import Limits
from interceptor.passages import Passages
from interceptor.passed_exchange import PassedExchange
from interceptor.sequencer import Sequencer


class Admission:
    """The hold queue in front of the sequencer."""

    def __init__(self, sequencer: Sequencer, passages: Passages, limits: Limits, counters: Counters) -> None:
        self._sequencer = sequencer
        self._passages = passages
        self._limits = limits
        self._events_max = limits.in_flight_events_max
        self._bytes_max = limits.in_flight_bytes_max
        self._counters = counters
        # In order of arrival; a dictionary, because any of them may leave when its client does.
        self._held: OrderedDict[Exchange, None] = OrderedDict()
        self._held_bytes = 0
        self._open = False
        self._refuse_all: str | None = None
        # What is said to those who come before the next open(), and why, where they are not held.
        self._refuse_closed: tuple[str, str] | None = None
        # Called once for each request that is held from now on.
        self.on_held: Callable[[], object] | None = None
        sequencer.on_unblocked = self._admit_held

    @property
    def held(self) -> int:
        """How many requests are held, the ones among them that the log has refused to take so far."""
        return len(self._held) + self._sequencer.held

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    @property
    def oldest_held_s(self) -> float:
        """How long the first of the held ones has waited."""
        return monotonic() - next(iter(self._held)).arrived_s if self._held else 0.0

    def admit(self, exchange: RecordedExchange) -> None:
        """Sequence a request now, or hold it."""
        sequencer = self._sequencer
        if (
            self._open
            and not self._held
            and sequencer.outstanding_events < self._events_max
            and sequencer.outstanding_bytes < self._bytes_max
            and not sequencer.blocked
        ):
            sequencer.sequence(exchange)
        else:
            self._hold(exchange)

    def admit_passed(self, exchange: PassedExchange) -> None:
        """Pass an unrecorded request on now, or hold it behind those that came before it."""
        if self._open and not self._held:
            self._passages.start(exchange)
        else:
            self._hold(exchange)

    def put_back(self, exchange: PassedExchange) -> None:
        """Hold an unrecorded safe request, whose target died, in front of all others: it was admitted before them."""
        if self._refuse_all is not None:
            self._refuse(exchange, self._refuse_all, "failed")
            return
        if self._refuse_closed is not None and not self._open:
            self._refuse(exchange, *self._refuse_closed)
            return
        self._held[exchange] = None
        self._held.move_to_end(exchange, last=False)
        self._held_bytes += exchange.size_bytes
        self._sequencer.on_room = self.room
        if self._open:
            self._admit_held()

    def open(self) -> None:
        """The state is Active: the held ones follow in the order in which they came."""
        self._open = True
        self._refuse_closed = None
        self._admit_held()

    def close(self) -> None:
        """Hold what comes from now on."""
        self._open = False

    def refuse_while_closed(self, detail: str, why: str) -> None:
        """Answer 503 to what is held and to what comes before the next open()."""
        self._refuse_closed = (detail, why)
        while self._held:
            self._refuse(self._take(), detail, why)

    def refuse_all(self, reason: str) -> None:
        """Answer everything that is held, and everything that comes, with 503."""
        self._open = False
        self._refuse_all = reason
        for exchange in self._sequencer.take_back(math.inf):
            self._refuse(exchange, reason, "failed")
        while self._held:
            self._refuse(self._take(), reason, "failed")

    def expire(self) -> None:
        """Answer 503 to those that were held for too long.  Called several times a second."""
        deadline = monotonic() - self._limits.hold_time_max_s
        waited_for = "the log had no room for it" if self._sequencer.blocked else "the application did not come back"
        overdue: list[Exchange] = list(self._sequencer.take_back(deadline))
        while self._held and next(iter(self._held)).arrived_s < deadline:
            overdue.append(self._take())
        for exchange in overdue:
            self._counters.limits_reached["hold_time_max_s"] += 1
            self._refuse(
                exchange, f"{waited_for} within {self._limits.hold_time_max_s:g} s; "
                "the request was not recorded and not delivered", "expired",
            )  # fmt: skip

    def holds(self, exchange: Exchange) -> bool:
        """Whether this request is held because the state is not Active."""
        return not self._open and exchange in self._held

    def forget(self, exchange: Exchange) -> None:
        """A client went away while its request was held."""
        if exchange not in self._held:
            return
        del self._held[exchange]
        self._held_bytes -= exchange.size_bytes
        self._counters.holds_ended["client_gone"] += 1

    def room(self) -> None:
        """Something in flight has ended; admit what was held for lack of room."""
        if self._open:
            self._admit_held()
        if not self._held:
            self._sequencer.on_room = None

    def _hold(self, exchange: Exchange) -> None:
        limits = self._limits
        if self._open and not self._held and not self._sequencer.blocked:
            full = self._sequencer.outstanding_events >= self._events_max
            self._counters.limits_reached["in_flight_events_max" if full else "in_flight_bytes_max"] += 1
        if self._refuse_all is not None:
            self._refuse(exchange, self._refuse_all, "failed")
        elif self._refuse_closed is not None and not self._open:
            self._refuse(exchange, *self._refuse_closed)
        elif len(self._held) >= limits.hold_requests_max:
            self._counters.limits_reached["hold_requests_max"] += 1
            self._refuse(exchange, f"{limits.hold_requests_max} requests are held already", "full")
        elif self._held_bytes + exchange.size_bytes > limits.hold_bytes_max:
            self._counters.limits_reached["hold_bytes_max"] += 1
            self._refuse(exchange, f"{limits.hold_bytes_max} bytes of requests are held already", "full")
        else:
            self._held[exchange] = None
            self._held_bytes += exchange.size_bytes
            self._sequencer.on_room = self.room
            if self.on_held is not None:
                self.on_held()

    def _admit_held(self) -> None:
        sequencer = self._sequencer
        now_s = monotonic()
        while self._held and self._open and not sequencer.blocked:
            if sequencer.outstanding_events >= self._events_max or sequencer.outstanding_bytes >= self._bytes_max:
                return
            exchange = self._take()
            self._counters.holds_ended["drained"] += 1
            self._counters.hold_time.observe(now_s - exchange.arrived_s)
            if isinstance(exchange, RecordedExchange):
                sequencer.sequence(exchange)
            else:
                assert isinstance(exchange, PassedExchange)
                self._passages.start(exchange)

    def _take(self) -> Exchange:
        exchange, _ = self._held.popitem(last=False)
        self._held_bytes -= exchange.size_bytes
        return exchange

    def _refuse(self, exchange: Exchange, detail: str, why: str) -> None:
        self._counters.holds_ended[why] += 1
        exchange.refuse(503, detail, retry_after_s=max(1, math.ceil(self._limits.hold_time_max_s / 10)))
