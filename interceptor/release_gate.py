"""The release gate: an answer leaves when its event is durable, and not before (design rule 2).

"Output commit" in the literature on rollback recovery (Elnozahy et al. 2002, section 3.2).  Delivery and sync run side
by side, so what a client waits for is the slower of the two, not their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from time import monotonic
from typing import TYPE_CHECKING

from interceptor.answer_budget import AnswerBudget
from interceptor.answer_stream import AnswerStream
from interceptor.counters import Counters
from interceptor.journal import Journal
from interceptor.limits import Limits
from interceptor.wire.answer import Answer
from storage_backends.errors import LogError

if TYPE_CHECKING:
    from interceptor.exchange import RecordedExchange
    from interceptor.sequencer import Sequencer


class ReleaseGate:
    """Records outcomes, and passes answers on when they may leave."""

    def __init__(self, journal: Journal, counters: Counters, limits: Limits) -> None:
        self.counters = counters
        self.sequencer: Sequencer
        self.answered_version = 0
        self.budget = AnswerBudget(limits)
        self._journal = journal
        self._limits = limits
        # (version, order of arrival, what to do): versions of one lane come in order, those of several don't.
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._arrivals = 0
        journal.on_durable = self._durable_advanced

    @property
    def waiting(self) -> int:
        """How many answers wait for their events to be durable."""
        return len(self._waiting)

    def settle(self, exchange: RecordedExchange, answer: Answer, content: bytes, digest: int) -> None:
        """Take the whole answer to an event."""
        event = exchange.event
        version = event.version
        status = answer.status
        counters = self.counters
        journal = self._journal
        journal.record_outcome(version, status, len(content), digest)
        counters.answers_by_class[status // 100] += 1
        client = exchange.client
        if client is not None and not exchange.refused:
            counters.request.observe(counters.now_s - exchange.arrived_s)
            if exchange.keep_alive and exchange.http11:
                data = answer.head + content
            else:
                data = exchange.client_head(answer) + content
            if version <= journal.release_version:
                client.answer_whole(exchange, data)
            elif journal.failure is not None:
                self._refuse_undurable(exchange, journal.failure)
            else:
                # Until it may leave it takes room in memory, so it counts as under way (design rule 7).
                self.sequencer.outstanding_bytes += len(data)
                self._wait(version, _Release(exchange, data, self.sequencer))
        if version > self.answered_version:
            self.answered_version = version
        self.sequencer.settled(event)

    def open_stream(self, exchange: RecordedExchange) -> AnswerStream:
        """Return the stream for an answer that comes in pieces; it is released when the event is durable."""
        limits = self._limits
        stream = AnswerStream(exchange, limits.answer_memory_bytes_max, limits.answer_spool_bytes_max, self.budget)
        version = exchange.event.version
        journal = self._journal
        if version <= journal.release_version:
            stream.release()
        elif journal.failure is not None:
            self._refuse_undurable(exchange, journal.failure)
        else:
            self._wait(version, _StreamRelease(exchange, stream))
        return stream

    def settle_stream(self, exchange: RecordedExchange, status: int, length_bytes: int, digest: int) -> None:
        """Take the end of an answer that came in pieces."""
        event = exchange.event
        self.counters.answers_by_class[status // 100] += 1
        self.counters.request.observe(monotonic() - exchange.arrived_s)
        self._journal.record_outcome(event.version, status, length_bytes, digest)
        self.answered_version = max(self.answered_version, event.version)
        self.sequencer.settled(event)

    def give_up(self, exchange: RecordedExchange) -> None:
        """No answer to this event will ever come from the target (quarantined, or ambiguous)."""
        self.sequencer.settled(exchange.event)

    def is_open(self, version: int) -> bool:
        """Whether every event up to `version` is durable."""
        return version <= self._journal.release_version

    def after(self, version: int, release: Callable[[], None], drop: Callable[[], None]) -> None:
        """Call `release` when every event up to `version` is durable, or `drop` when that can't be any more."""
        if version <= self._journal.release_version:
            release()
        elif self._journal.failure is not None:
            drop()
        else:
            self._wait(version, _PassageRelease(release, drop))

    def drop_all(self, error: LogError) -> None:
        """The log has failed: what waits is cut, because whether it is durable will never be known (design rule 9)."""
        waiting, self._waiting = self._waiting, []
        for _, _, release in waiting:
            if isinstance(release, _Release):
                release.give_room_back()
            if isinstance(release, _Release | _StreamRelease):
                self._refuse_undurable(release.exchange, error)
            elif isinstance(release, _PassageRelease):
                release.drop()

    def refuse_overdue(self, arrived_before_s: float) -> None:
        """Answer 504 to those that have waited too long for their events to become durable, which they still may."""
        waiting = self._waiting
        if not waiting or not _is_overdue(waiting[0][2], arrived_before_s):
            return
        for version, _, release in waiting:
            if isinstance(release, _Release | _StreamRelease) and _is_overdue(release, arrived_before_s):
                self.counters.limits_reached["answer_timeout_s"] += 1
                release.exchange.refuse(
                    504, f"event {version} was delivered, but the log has not made it durable within answer_timeout_s"
                )
                release.exchange.refused = True
                release.give_room_back()

    @staticmethod
    def _refuse_undurable(exchange: RecordedExchange, error: LogError) -> None:
        if not exchange.refused:
            exchange.refuse(500, f"delivered to the application, but not durable: {error}")
            exchange.refused = True

    def _wait(self, version: int, release: Callable[[], None]) -> None:
        self._arrivals += 1
        heappush(self._waiting, (version, self._arrivals, release))

    def _durable_advanced(self) -> None:
        version = self._journal.release_version
        waiting = self._waiting
        while waiting and waiting[0][0] <= version:
            heappop(waiting)[2]()
        if self.sequencer.on_room is not None:
            self.sequencer.on_room()


class _Release:
    """A whole answer that waits."""

    __slots__ = ("_sequencer", "data", "exchange")

    def __init__(self, exchange: RecordedExchange, data: bytes, sequencer: Sequencer) -> None:
        self.exchange = exchange
        self.data = data
        self._sequencer = sequencer

    def give_room_back(self) -> None:
        self._sequencer.outstanding_bytes -= len(self.data)
        self.data = b""

    def __call__(self) -> None:
        data = self.data
        self.give_room_back()
        client = self.exchange.client
        if client is not None and not self.exchange.refused:
            client.answer_whole(self.exchange, data)


class _StreamRelease:
    """An answer that comes in pieces and waits."""

    __slots__ = ("exchange", "stream")

    def __init__(self, exchange: RecordedExchange, stream: AnswerStream) -> None:
        self.exchange = exchange
        self.stream = stream

    def give_room_back(self) -> None:
        """What the stream keeps has limits of its own."""

    def __call__(self) -> None:
        if not self.exchange.refused:
            self.stream.release()


class _PassageRelease:
    """What an unrecorded connection has got from the target, and waits."""

    __slots__ = ("_release", "drop")

    def __init__(self, release: Callable[[], None], drop: Callable[[], None]) -> None:
        self._release = release
        self.drop = drop

    def __call__(self) -> None:
        self._release()


def _is_overdue(release: Callable[[], None], arrived_before_s: float) -> bool:
    # What stands before an unrecorded passage is as old as that.
    if not isinstance(release, _Release | _StreamRelease):
        return True
    return release.exchange.arrived_s < arrived_before_s and not release.exchange.refused
