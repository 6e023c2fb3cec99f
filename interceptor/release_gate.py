"""The release gate: an answer leaves when its event is durable, and not before (design rule 2).

"Output commit" in the literature on rollback recovery (Elnozahy et al. 2002, section 3.2).  Delivery and sync run side
by side, so what a client waits for is the slower of the two, not their sum.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from operator import attrgetter
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

_version_of = attrgetter("version")


class ReleaseGate:
    """Records outcomes, and passes answers on when they may leave."""

    def __init__(self, journal: Journal, counters: Counters, limits: Limits) -> None:
        self.counters = counters
        self.sequencer: Sequencer
        self.answered_version = 0
        self.budget = AnswerBudget(limits)
        self._journal = journal
        self._limits = limits
        # By version, then in the order of arrival.
        self._waiting: list[_Waiting] = []
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
                self._wait(_Release(version, exchange, data, self.sequencer))
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
            self._wait(_StreamRelease(version, exchange, stream))
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
            self._wait(_PassageRelease(version, release, drop))

    def drop_all(self, error: LogError) -> None:
        """The log has failed: what waits is cut, because whether it is durable will never be known (design rule 9)."""
        waiting, self._waiting = self._waiting, []
        for release in waiting:
            release.give_room_back()
            if release.exchange is not None:
                self._refuse_undurable(release.exchange, error)
            elif isinstance(release, _PassageRelease):
                release.drop()

    def refuse_overdue(self, arrived_before_s: float) -> None:
        """Answer 504 to those that have waited too long for their events to become durable, which they still may."""
        waiting = self._waiting
        if not waiting or not waiting[0].is_overdue(arrived_before_s):
            return
        for release in waiting:
            exchange = release.exchange
            if exchange is not None and release.is_overdue(arrived_before_s):
                self.counters.limits_reached["answer_timeout_s"] += 1
                exchange.refuse(
                    504,
                    f"event {release.version} was delivered, but the log has not made it durable within"
                    " answer_timeout_s",
                )
                exchange.refused = True
                release.give_room_back()

    @staticmethod
    def _refuse_undurable(exchange: RecordedExchange, error: LogError) -> None:
        if not exchange.refused:
            exchange.refuse(500, f"delivered to the application, but not durable: {error}")
            exchange.refused = True

    def _wait(self, release: _Waiting) -> None:
        waiting = self._waiting
        if not waiting or release.version >= waiting[-1].version:
            waiting.append(release)
        else:
            # Answers of one lane come in order, those of several don't.
            insort(waiting, release, key=_version_of)

    def _durable_advanced(self) -> None:
        version = self._journal.release_version
        waiting = self._waiting
        durable = 0
        while durable < len(waiting) and waiting[durable].version <= version:
            durable += 1
        leaving = waiting[:durable]
        del waiting[:durable]
        for release in leaving:
            release.leave()
        if self.sequencer.on_room is not None:
            self.sequencer.on_room()


class _Waiting:
    """What waits until its version is durable; `exchange` if an event's answer does."""

    __slots__ = ("exchange", "version")

    def __init__(self, version: int, exchange: RecordedExchange | None) -> None:
        self.version = version
        self.exchange = exchange

    def leave(self) -> None:
        """It is durable."""
        raise NotImplementedError

    def give_room_back(self) -> None:
        """It will not leave, and keeps nothing any more."""

    def is_overdue(self, arrived_before_s: float) -> bool:
        """Whether its client has waited for too long and has not been told so."""
        exchange = self.exchange
        # What stands before an unrecorded passage is as old as that.
        return exchange is None or (exchange.arrived_s < arrived_before_s and not exchange.refused)


class _Release(_Waiting):
    """A whole answer."""

    __slots__ = ("_sequencer", "data")

    def __init__(self, version: int, exchange: RecordedExchange, data: bytes, sequencer: Sequencer) -> None:
        # Not by super().__init__: this is the path of every request.
        self.version = version
        self.exchange = exchange
        self.data = data
        self._sequencer = sequencer

    def give_room_back(self) -> None:
        self._sequencer.outstanding_bytes -= len(self.data)
        self.data = b""

    def leave(self) -> None:
        data = self.data
        self.give_room_back()
        exchange = self.exchange
        if exchange is not None and exchange.client is not None and not exchange.refused:
            exchange.client.answer_whole(exchange, data)


class _StreamRelease(_Waiting):
    """An answer that comes in pieces; what the stream keeps has limits of its own."""

    __slots__ = ("stream",)

    def __init__(self, version: int, exchange: RecordedExchange, stream: AnswerStream) -> None:
        super().__init__(version, exchange)
        self.stream = stream

    def leave(self) -> None:
        if self.exchange is not None and not self.exchange.refused:
            self.stream.release()


class _PassageRelease(_Waiting):
    """What an unrecorded connection has got from the target."""

    __slots__ = ("_release", "drop")

    def __init__(self, version: int, release: Callable[[], None], drop: Callable[[], None]) -> None:
        super().__init__(version, None)
        self._release = release
        self.drop = drop

    def leave(self) -> None:
        self._release()
