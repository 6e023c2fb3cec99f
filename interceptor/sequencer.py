"""The sequencer: gives each request its version, in arrival order (design rule 1).

Requests that arrive in one turn of the event loop become one batch: one write to the log, then one delivery.  Once the
log has taken an event it is history, whether or not its client still waits (rule 3).  A batch that the log has no room
for is held: it is tried again, and until it is taken a request may leave it, and the ones behind it move up.
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
        # Set while the log takes no records: the batch that it has refused is held, and admission holds the rest.
        self.blocked = False
        # Both are None nearly always, so that settling costs nothing: room for held requests, and the end of a drain.
        self.on_room: Callable[[], None] | None = None
        self.on_idle: Callable[[], None] | None = None
        self.on_unblocked: Callable[[], None] = _ignore
        self._journal = journal
        self._group_commit = journal.group_commit
        self._loop = loop
        self._deliver = deliver
        self._batch: list[RecordedExchange] = []
        self._events: list[Event] = []
        self._scheduled = False
        self._retry_timer: asyncio.TimerHandle | None = None
        journal.on_room = self._retry

    def sequence(self, exchange: RecordedExchange) -> None:
        """Give the request its version; it is written and delivered at the end of this turn of the loop."""
        version = self.last_version = self.last_version + 1
        head, body = exchange.head, exchange.body
        event = exchange.event = Event(version, time_ns(), head, body)
        self.outstanding_events += 1
        self.outstanding_bytes += len(head) + len(body)
        self._batch.append(exchange)
        self._events.append(event)
        if exchange.client is not None:
            self._group_commit.asked(exchange.client, version)
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

    @property
    def held(self) -> int:
        """How many requests the log has refused to take so far."""
        return len(self._batch) if self.blocked else 0

    def take_back(self, arrived_before_s: float) -> list[RecordedExchange]:
        """Give back what the log has not taken and what arrived before that: it has no version and gets none."""
        if not self.blocked:
            return []
        overdue = [exchange for exchange in self._batch if exchange.arrived_s < arrived_before_s]
        self._drop_from_batch(overdue)
        return overdue

    def _drop_from_batch(self, dropped: list[RecordedExchange]) -> None:
        if not dropped:
            return
        gone = set(dropped)
        self._batch = [exchange for exchange in self._batch if exchange not in gone]
        self._events = [exchange.event for exchange in self._batch]
        for version, event in enumerate(self._events, self._journal.last_version + 1):
            event.version = version
        self.last_version = self._journal.last_version + len(self._events)
        for exchange in dropped:
            self.settled(exchange.event)

    def _retry(self) -> None:
        if self._retry_timer is None:
            return
        self._retry_timer.cancel()
        self._retry_timer = None
        self._drop_from_batch([exchange for exchange in self._batch if exchange.client is None])
        self._flush()

    def _flush(self) -> None:
        self._scheduled = False
        try:
            self._journal.append(self._events)
        except LogUnavailableError:
            self.blocked = True
            self._scheduled = True
            self._retry_timer = self._loop.call_later(LOG_RETRY_S, self._retry)
            return
        except ValueError as error:
            self._refuse_unwritable(error)
            return
        except LogFailedError:
            # The journal has told everybody; these were never delivered, and are answered by the failed state.
            batch, self._batch, self._events = self._batch, [], []
            for exchange in batch:
                exchange.take_refusal(503, "the log has failed; this request was not delivered")
            return
        batch, self._batch, self._events = self._batch, [], []
        if batch:
            self.recorded += len(batch)
            self._deliver(batch)
        if self.blocked:
            self.blocked = False
            self.on_unblocked()

    def _refuse_unwritable(self, error: ValueError) -> None:
        """Refuse the longest request, which a backend that takes shorter ones can't hold, and write the others."""
        if not self._batch:
            raise error
        longest = max(self._batch, key=lambda exchange: exchange.event.size_bytes)
        self._drop_from_batch([longest])
        longest.refuse(413, f"the log can't hold this request, which was not delivered: {error}")
        longest.refused = True
        self._flush()


def _ignore() -> None:
    """Nobody waits yet."""
