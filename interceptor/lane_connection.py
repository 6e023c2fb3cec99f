"""One connection of a lane: events leave in order, answers come back in that order (RFC 9112 §9.3.2)."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, cast

import xxhash

from interceptor.delivery import Delivery
from interceptor.spare_descriptor import SpareDescriptor
from interceptor.wire.answer import Answer, AnswerReader, Framing
from interceptor.wire.errors import AnswerError

if TYPE_CHECKING:
    from interceptor.lane import Lane

_content_digest = xxhash.xxh3_64_intdigest
_LENGTH = Framing.LENGTH


class LaneConnection(asyncio.Protocol):
    """One connection of a lane, which it tells of answers, of the target's wish to close, and of the loss."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._reader = AnswerReader(lane.limits.answer_head_bytes_max)
        self._whole_max = lane.limits.answer_whole_bytes_max
        self.in_flight: deque[Delivery] = deque()
        self.sent = 0
        self.answered = 0
        self.lost_reason: str | None = None
        # The present answer, if its head is there and its content is not; and its running measures if it streams.
        self._answer: Answer | None = None
        self._streaming = False
        self._content_bytes = 0
        self._digest = xxhash.xxh3_64()
        self._paused = False
        # What comes now was sent before the connection broke; nothing more can be sent on it.
        self._broken = False
        self._used_s = monotonic()

    @property
    def socket(self) -> socket.socket:
        """The connection's socket, to ask about."""
        return cast(socket.socket, self._transport.get_extra_info("socket"))

    def stale(self) -> bool:
        """Whether it has been idle for so long that the target may be about to close it."""
        return (
            not self.in_flight and self.answered > 0 and monotonic() - self._used_s > self._lane.limits.lane_idle_max_s
        )

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Write events, in order, in one piece."""
        self.in_flight.extend(deliveries)
        self.sent += len(deliveries)
        self._transport.write(self._lane.written(deliveries))
        if self._paused:
            # Somebody waits behind the answer that a slow client reads: from here on it is spooled (design rule 6).
            self.resume()

    def give_back(self) -> list[Delivery]:
        """Return what is unanswered, in order; it is not ours any more."""
        unanswered = list(self.in_flight)
        self.in_flight.clear()
        if self._streaming and unanswered:
            unanswered[0].take_interruption()
        self._answer = None
        self._streaming = False
        return unanswered

    def close(self) -> None:
        """Close without telling the lane."""
        if self.lost_reason is None:
            self.lost_reason = "closed by us"
            self._transport.abort()

    def resume(self) -> None:
        """Read on."""
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._spare = SpareDescriptor(transport)

    def data_received(self, data: bytes) -> None:
        self._lane.counters.now_s = monotonic()
        self._reader.feed(data)
        try:
            self._read_answers()
        except AnswerError as error:
            if error.limit is not None:
                self._lane.counters.limits_reached[error.limit] += 1
            self._lose(f"the target's answer is malformed: {error.reason}")

    def eof_received(self) -> bool:
        if self._streaming and self._reader.end_of_stream():
            self._end_stream(self.in_flight.popleft())
            self.answered += 1
            self._lane.connection_closes(self)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._broken = True
        if exc is not None:
            for data in self._spare.read():
                if self.lost_reason is None:
                    self.data_received(data)
        self._spare.close()
        self._lose(f"the target closed the connection{f': {exc}' if exc else ''}")

    # --- answers

    def _read_answers(self) -> None:
        reader = self._reader
        in_flight = self.in_flight
        while in_flight:
            delivery = in_flight[0]
            answer = self._answer
            if answer is None:
                answer = reader.read_head(delivery.is_head_request)
                if answer is None:
                    break
                if answer.status < 200:
                    if answer.status == 101:
                        raise AnswerError("101 to a request that asked for no upgrade (RFC 9110 §15.2.2)")
                    delivery.take_interim(answer)
                    continue
                if self.answered == 0:
                    self._lane.meet(answer)
            if self._streaming or answer.framing is not _LENGTH or answer.length > self._whole_max:
                self._answer = answer
                if not self._read_stream(delivery, answer):
                    break
            else:
                content = reader.read_whole()
                if content is None:
                    self._answer = answer
                    break
                self._answer = None
                in_flight.popleft()
                delivery.take_whole(answer, content, _content_digest(content))
            self.answered += 1
            if answer.closes:
                self._lane.connection_closes(self)
                return
        else:
            if reader.buffered_bytes and self.lost_reason is None:
                raise AnswerError("bytes behind the last answer that was asked for")
            self._used_s = monotonic()
        if not self._broken:
            self._lane.answered()

    def _read_stream(self, delivery: Delivery, answer: Answer) -> bool:
        """Take what is there of an answer that comes in pieces; return whether it is complete."""
        reader = self._reader
        if not self._streaming:
            self._streaming = True
            self._content_bytes = 0
            self._digest = xxhash.xxh3_64()
            delivery.take_head(answer)
        piece = reader.read_piece()
        if piece:
            self._content_bytes += len(piece)
            self._digest.update(piece)
            alone = len(self.in_flight) == 1 and not (self._lane.queued or self._lane.draining)
            if delivery.take_piece(piece, reader.complete) and alone:
                # Nobody waits behind: the target may wait for the client.
                self._pause(delivery)
        if not reader.complete:
            return False
        self.in_flight.popleft()
        self._end_stream(delivery)
        return True

    def _end_stream(self, delivery: Delivery) -> None:
        self._streaming = False
        self._answer = None
        delivery.take_end(self._content_bytes, self._digest.intdigest(), self._reader.trailers)

    def _pause(self, delivery: Delivery) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            delivery.watch_drain(self.resume)
            self._transport.pause_reading()

    def _lose(self, reason: str) -> None:
        if self.lost_reason is None:
            self.lost_reason = reason
            self._transport.abort()
            self._lane.connection_lost(self, reason)
