"""The sequencer: gives each request its version, in arrival order (design rule 1).

Requests that arrive in one turn of the event loop become one batch: one write to the log, then one delivery.  Once an
event has a version it is history, whether or not its client still waits (rule 3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import time_ns

from interceptor.exchange import RecordedExchange
from interceptor.journal import Journal
from storage_backends.errors import LogFailedError, LogUnavailableError
from storage_backends.records import Event

# How often a log that takes no records is tried again.
LOG_RETRY_S = 0.25


class Sequencer:
    """Numbers, writes and hands on.  `deliver` is called with each written batch, in order."""

    def __init__(
        self,
        journal: Journal,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[list[RecordedExchange]], None],
    ) -> None:
        self.last_version = journal.last_version
        self.recorded = 0
        self.outstanding_events = 0
        self.outstanding_bytes = 0
        # Set while the log takes no records: what is sequenced waits, and admission holds the rest.
        self.blocked = False
        # Both are None nearly always, so that settling costs nothing: room for held requests, and the end of a drain.
        self.on_room: Callable[[], None] | None = None
        self.on_idle: Callable[[], None] | None = None
        self.on_unblocked: Callable[[], None] = _ignore
        self._journal = journal
        self._loop = loop
        self._deliver = deliver
        self._batch: list[RecordedExchange] = []
        self._events: list[Event] = []
        self._scheduled = False

    def sequence(self, exchange: RecordedExchange) -> None:
        """Give the request its version; it is written and delivered at the end of this turn of the loop."""
        version = self.last_version = self.last_version + 1
        head, body = exchange.head, exchange.body
        event = exchange.event = Event(version, time_ns(), head, body)
        self.outstanding_events += 1
        self.outstanding_bytes += len(head) + len(body)
        self._batch.append(exchange)
        self._events.append(event)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def settled(self, event: Event) -> None:
        """An event has got its outcome, or will never get one."""
        self.outstanding_events -= 1
        self.outstanding_bytes -= len(event.head) + len(event.body)
        if self.on_room is not None:
            self.on_room()
        if self.on_idle is not None and self.outstanding_events == 0:
            self.on_idle()

    def refuse_overdue(self, arrived_before_s: float) -> None:
        """Answer 504 to the clients of events that the log has not taken for too long; they stay history."""
        if self.blocked:
            for exchange in self._batch:
                exchange.take_overdue(arrived_before_s)

    def _flush(self) -> None:
        self._scheduled = False
        try:
            self._journal.append(self._events)
        except LogUnavailableError:
            self.blocked = True
            self._scheduled = True
            self._loop.call_later(LOG_RETRY_S, self._flush)
            return
        except LogFailedError:
            # The journal has told everybody; these were never delivered, and are answered by the failed state.
            batch, self._batch, self._events = self._batch, [], []
            for exchange in batch:
                exchange.take_refusal(503, "the log has failed; this request was not delivered")
            return
        batch, self._batch, self._events = self._batch, [], []
        self.recorded += len(batch)
        self._deliver(batch)
        if self.blocked:
            self.blocked = False
            self.on_unblocked()


def _ignore() -> None:
    """Nobody waits yet."""
