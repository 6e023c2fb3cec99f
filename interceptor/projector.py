"""The projector: delivers events to one target in version order (design rule 1).

Serving live traffic, replaying after a crash, rebuilding a state in a scratch copy: the same object with another first
version and another target.  While it is behind, it reads the log (`catch_up`); once it is in step, the sequencer hands
it each batch directly (`deliver`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from time import monotonic

from interceptor.delivery import Delivery
from interceptor.distribution import Distribution
from interceptor.divergence import OutcomeComparison
from interceptor.errors import TargetLostError
from interceptor.exchange import RecordedExchange
from interceptor.lane import Lane
from interceptor.limits import Limits
from interceptor.wire.answer import Answer
from storage_backends.backend import LogReader
from storage_backends.records import Event, Outcome, Record

# What one read of the log brings.
BATCH_EVENTS_MAX = 512
BATCH_BYTES_MAX = 1024 * 1024


@dataclass
class Progress:
    """How far a projection is."""

    from_version: int
    to_version: int
    started_s: float = field(default_factory=monotonic)
    answered: int = 0
    replayed: int = 0
    skipped: int = 0
    ended_s: float | None = None
    comparison: OutcomeComparison = field(init=False)

    def __post_init__(self) -> None:
        self.comparison = OutcomeComparison(self.from_version)

    @property
    def seconds(self) -> float:
        return (self.ended_s or monotonic()) - self.started_s

    def as_json(self) -> dict[str, object]:
        """Return it as the admin interface shows it; rate in events a second."""
        seconds = self.seconds
        return {
            "from": self.from_version,
            "to": self.to_version,
            "events": self.answered,
            "replayed": self.replayed,
            "skipped": self.skipped,
            "seconds": round(seconds, 6),
            "rate": round(self.answered / seconds, 1) if seconds > 0 else None,
            "compared": self.comparison.compared,
            "divergences": self.comparison.divergences,
            "divergences_ignored": self.comparison.ignored,
            "first_divergences": self.comparison.first_as_json(),
        }


# A named tuple's own constructor costs twice as much, once for each replayed event.
_new_tuple = tuple.__new__


class Replay:
    """An event that is delivered again, with nobody waiting for the answer."""

    __slots__ = ("_projector", "_status", "event", "is_head_request")
    is_replay = True

    def __init__(self, event: Event, projector: Projector) -> None:
        self.event = event
        self.is_head_request = event.head.startswith(b"HEAD ")
        self._projector = projector
        self._status = 0

    def take_interim(self, answer: Answer) -> None:
        """Nobody waits for it."""

    def take_whole(self, answer: Answer, content: bytes, digest: int) -> None:
        outcome = _new_tuple(Outcome, (self.event.version, answer.status, len(content), digest))
        self._projector.replayed(self.event, outcome)

    def take_head(self, answer: Answer) -> None:
        self._status = answer.status

    def take_piece(self, piece: bytes, last: bool) -> bool:
        return False

    def watch_drain(self, resume: Callable[[], None]) -> None:
        resume()

    def take_end(self, length_bytes: int, digest: int, trailers: bytes) -> None:
        self._projector.replayed(self.event, Outcome(self.event.version, self._status, length_bytes, digest))

    def take_interruption(self) -> None:
        """It will begin again with the next incarnation."""

    def take_refusal(self, status: int, detail: str) -> None:
        self._projector.replay_given_up(self.event)

    def take_overdue(self, arrived_before_s: float) -> bool:
        return False


class Projector:
    """Delivers to the target behind `lanes`.  `distribution` chooses among them; None where there is only one."""

    def __init__(self, lanes: Sequence[Lane], limits: Limits, distribution: Distribution | None = None) -> None:
        self.lanes = lanes
        self.delivered_version = 0
        self.in_step = False
        self.progress: Progress | None = None
        # Asked for each replayed event, where there are routes whose answers are not compared.
        self.ignores: Callable[[Event], bool] | None = None
        self._distribution = distribution
        self._send: Callable[[Sequence[Delivery]], None] = (
            self._send_down_the_lane if distribution is None else distribution.send
        )
        self._replay_events_max = limits.replay_lane_events_max * len(lanes)
        self._replay_bytes_max = limits.replay_bytes_max
        # Live events that were sequenced and that this incarnation has not got yet.
        self._waiting: dict[int, RecordedExchange] = {}
        self._pending_bytes = 0
        self._room: asyncio.Future[None] | None = None
        self._lost_reason: str | None = None
        self._next_version = 1

    @property
    def pending(self) -> int:
        """Events handed to the lanes and not answered."""
        in_lanes = sum(lane.pending for lane in self.lanes)
        return in_lanes if self._distribution is None else in_lanes + self._distribution.queued

    def deliver(self, batch: list[RecordedExchange]) -> None:
        """Take newly sequenced events, in order."""
        if self.in_step:
            self.delivered_version = batch[-1].event.version
            self._send(batch)
        else:
            for exchange in batch:
                self._waiting[exchange.event.version] = exchange

    def take_back(self) -> list[Delivery]:
        """The incarnation is over: return what was sent and not answered, oldest first.  Live events wait for the next.

        `deliver` goes on taking events meanwhile.
        """
        self.in_step = False
        self.delivered_version = 0
        self._pending_bytes = 0
        sent_unanswered: list[Delivery] = []
        for lane in self.lanes:
            queued = lane.queued
            unanswered = lane.take_back()
            sent_unanswered.extend(unanswered[: len(unanswered) - queued])
            self.keep(unanswered)
        if self._distribution is not None:
            self.keep(self._distribution.take_back())
        sent_unanswered.sort(key=_version)
        return sent_unanswered

    def suspects(self, sent_unanswered: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return those that the target may have been working on when it died: the first of each lane."""
        if self._distribution is None:
            return sent_unanswered[:1]
        return self._distribution.suspects(sent_unanswered)

    def take_back_lost(self) -> list[Delivery]:
        """The incarnation lives and has closed connections: return what was sent on these and not answered."""
        lost = [delivery for lane in self.lanes if lane.lost for delivery in lane.take_back_lost()]
        return sorted(lost, key=_version)

    def take_back_sent(self) -> list[Delivery]:
        """Close every connection; return what was sent and not answered.  What was not sent stays."""
        lost = self.take_back_lost()
        return sorted([*lost, *(delivery for lane in self.lanes for delivery in lane.take_back_sent())], key=_version)

    def forgives_idle_close(self, lane: Lane) -> bool:
        """Forget the loss of a lane that was idle, if others stand: the target lives.  Return whether that was so."""
        if not lane.lost_idle or not any(other.connected for other in self.lanes):
            return False
        lane.take_back_sent()
        lane.pump()
        return True

    def go_on(self) -> None:
        """Send what waits: the target lives."""
        for lane in self.lanes:
            lane.pump()
        if self._distribution is not None:
            self._distribution.send([])

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        """Take live events back that were sent and not answered: they wait for the next incarnation."""
        for delivery in deliveries:
            if isinstance(delivery, RecordedExchange):
                self._waiting[delivery.event.version] = delivery

    def give_up_waiting(self) -> list[RecordedExchange]:
        """Return the live events that no incarnation will get from here any more, oldest first."""
        waiting = sorted(self._waiting.values(), key=lambda exchange: exchange.event.version)
        self._waiting.clear()
        return waiting

    def refuse_overdue(self, arrived_before_s: float) -> None:
        """Answer 504 to the clients of events that have been under way for too long; the events themselves go on."""
        for lane in self.lanes:
            lane.refuse_overdue(arrived_before_s)
        if self._distribution is not None:
            self._distribution.refuse_overdue(arrived_before_s)
        for exchange in self._waiting.values():
            exchange.take_overdue(arrived_before_s)

    def withdraw(self, version: int) -> RecordedExchange | None:
        """Take a waiting live event out: it was quarantined."""
        return self._waiting.pop(version, None)

    def interrupt(self, reason: str) -> None:
        """The target was lost: `catch_up` raises TargetLostError as soon as it would wait or read on."""
        self._lost_reason = reason
        self._wake()

    def begin_in_step(self, version: int) -> None:
        """The target holds every event up to `version` already."""
        self.delivered_version = version
        self.in_step = True

    async def catch_up(
        self,
        reader: LogReader,
        from_version: int,
        to_version: Callable[[], int],
        skip: Container[int],
        serial: Container[int] = (),
        pause_s: Callable[[int], float] = lambda version: 0.0,
    ) -> Progress:
        """Deliver from_version … to_version() from the log, and wait for every answer.

        `to_version` is asked again at the end: it may grow meanwhile.  Versions in `skip` (quarantined) are left out,
        those in `serial` are delivered one at a time, after a pause of `pause_s(version)`.  Raises TargetLostError when
        `interrupt` was called, and the log's errors.
        """
        progress = self.progress = Progress(from_version, to_version())
        self._next_version = from_version
        self._lost_reason = None
        self._call_on_room(self._wake)
        try:
            while True:
                records = await reader.next_batch(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
                # Only now: the log may have grown while it was read, and what was read does not come again.
                progress.to_version = to_version()
                if records:
                    await self._deliver_records(records, progress, skip, serial, pause_s)
                    if not self._only_outcomes_left(progress):
                        continue
                await self._until(lambda: self.pending == 0)
                if to_version() < self._next_version and (not records or not progress.comparison.unresolved):
                    break
        finally:
            self._call_on_room(None)
        self.delivered_version = progress.to_version
        progress.ended_s = monotonic()
        return progress

    # --- told by replays

    def replayed(self, event: Event, outcome: Outcome) -> None:
        """A replayed event was answered."""
        self._pending_bytes -= len(event.head) + len(event.body)
        progress = self.progress
        assert progress is not None
        progress.answered += 1
        progress.comparison.replayed(outcome)

    def replay_given_up(self, event: Event) -> None:
        """A replayed event will get no answer."""
        self._pending_bytes -= event.size_bytes

    # --- inside

    def _only_outcomes_left(self, progress: Progress) -> bool:
        """Whether every event is under way; outcomes of the last ones may follow in the log."""
        return self._next_version > progress.to_version

    async def _deliver_records(
        self, records: list[Record], progress: Progress, skip: Container[int], serial: Container[int],
        pause_s: Callable[[int], float],
    ) -> None:  # fmt: skip
        batch: list[Delivery] = []
        comparison, to_version = progress.comparison, progress.to_version
        for record in records:
            if type(record) is Event:
                version = record.version
                if version < self._next_version or version > to_version:
                    continue
                self._next_version = version + 1
                if version in skip:
                    progress.skipped += 1
                    comparison.leave_out(version)
                elif version in serial:
                    await self._deliver_serially(batch, record, progress, pause_s)
                    batch = []
                else:
                    batch.append(self._delivery_of(record, progress))
            elif type(record) is Outcome:
                comparison.recorded(record)
        await self._deliver_batch(batch)

    def _delivery_of(self, event: Event, progress: Progress) -> Delivery:
        live = self._waiting.pop(event.version, None)
        if live is not None:
            progress.comparison.leave_out(event.version)
            return live
        progress.replayed += 1
        if self.ignores is not None and self.ignores(event):
            progress.comparison.ignore(event.version)
        self._pending_bytes += len(event.head) + len(event.body)
        return Replay(event, self)

    async def _deliver_batch(self, batch: list[Delivery]) -> None:
        if not batch:
            return
        self._send(batch)
        # A slow lane collects what is behind it, and the others go on until that is the whole of the room.
        await self._until(
            lambda: self.pending < self._replay_events_max and self._pending_bytes < self._replay_bytes_max
        )

    async def _deliver_serially(
        self, before: list[Delivery], event: Event, progress: Progress, pause_s: Callable[[int], float]
    ) -> None:
        if before:
            self._send(before)
        await self._until(lambda: self.pending == 0)
        await self._pause(pause_s(event.version))
        self._send([self._delivery_of(event, progress)])
        await self._until(lambda: self.pending == 0)

    async def _pause(self, seconds: float) -> None:
        if seconds == 0.0:
            return
        if not self.lanes[0].connected:
            # A death shows by a connection that breaks.
            self.lanes[0].connect()
        ended = asyncio.Event()

        def end() -> None:
            ended.set()
            self._wake()

        timer = asyncio.get_running_loop().call_later(seconds, end)
        try:
            await self._until(ended.is_set)
        finally:
            timer.cancel()

    def _send_down_the_lane(self, batch: Sequence[Delivery]) -> None:
        self.lanes[0].send(batch)

    def _call_on_room(self, wake: Callable[[], None] | None) -> None:
        if self._distribution is None:
            self.lanes[0].on_room = wake
        else:
            self._distribution.on_room(wake)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while self._lost_reason is None and not condition():
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None
        if self._lost_reason is not None:
            raise TargetLostError(self._lost_reason)

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


def _version(delivery: Delivery) -> int:
    return delivery.event.version
