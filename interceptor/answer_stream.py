"""An answer that is larger than one piece, on its way to one client at the client's own speed.

What the client does not take waits in memory, then in an unlinked temporary file, then the client is cut: a slow reader
never holds up the lane for the others (design rule 6), and no buffer is without a bound (rule 7).

If the target dies in the middle, the next incarnation answers the same event from its beginning.  What was already
passed on is compared with the beginning of the new answer by a running digest; if it is the same, the client notices
nothing, otherwise its connection is cut, never patched together.
"""

from __future__ import annotations

import re
import tempfile
from collections import deque
from typing import IO, TYPE_CHECKING

import xxhash

from interceptor.wire import chunked
from interceptor.wire.answer import Answer, Framing

if TYPE_CHECKING:
    from interceptor.answer_budget import AnswerBudget
    from interceptor.exchange import Exchange

_SPOOL_READ_BYTES = 256 * 1024
# Up to so much a last piece is copied to leave in one write with the end behind it.
_JOINED_BYTES_MAX = 64 * 1024
_DATE_FIELD = re.compile(rb"(?i)\ndate:[^\r]*+\r")


class AnswerStream:
    """The output of one exchange.  Nothing leaves before `release`."""

    __slots__ = (
        "_aborted",
        "_budget",
        "_chunked",
        "_content_bytes",
        "_digest",
        "_ended",
        "_exchange",
        "_head_as_sent",
        "_last_piece",
        "_memory_bytes",
        "_memory_max",
        "_on_drained",
        "_queue",
        "_released",
        "_replay_bytes_left",
        "_replay_digest",
        "_spool",
        "_spool_max",
        "_spool_read",
        "_spool_written",
        "_touched",
        "_written",
    )

    def __init__(self, exchange: Exchange, memory_bytes_max: int, spool_bytes_max: int, budget: AnswerBudget) -> None:
        self._budget = budget
        self._exchange = exchange
        self._memory_max = memory_bytes_max
        self._spool_max = spool_bytes_max
        self._queue: deque[bytes] = deque()
        self._memory_bytes = 0
        self._spool: IO[bytes] | None = None
        self._spool_read = 0
        self._spool_written = 0
        self._released = False
        self._written = False
        self._touched = False
        self._ended = False
        self._aborted = False
        self._chunked = False
        self._head_as_sent = b""
        self._last_piece = b""
        self._content_bytes = 0
        self._digest = xxhash.xxh3_64()
        self._replay_bytes_left = 0
        self._replay_digest = xxhash.xxh3_64()
        self._on_drained = None

    @property
    def ended(self) -> bool:
        """Whether everything that will ever come is here."""
        return self._ended

    @property
    def written(self) -> bool:
        """Whether the client has got a byte of it, be it of an interim answer."""
        return self._written

    @property
    def touched(self) -> bool:
        """Whether the client has got a byte of the final answer; interim ones bind to nothing (RFC 9110 §15.2)."""
        return self._touched

    @property
    def congested(self) -> bool:
        """Whether something waits for the client: it takes less than the target gives."""
        return bool(self._queue) or self._spool is not None

    @property
    def spooled_bytes(self) -> int:
        """Bytes of the file in which it waits for its client."""
        return self._spool_written

    def put_interim(self, head: bytes) -> None:
        """Pass a 1xx head on, unless the client has the final one already, from an earlier incarnation."""
        if not self._head_as_sent:
            self._put(head)

    def begin(self, answer: Answer) -> None:
        """Take the head; on a second beginning compare it with the first (all but Date)."""
        if self._aborted:
            return
        head_to_compare = _DATE_FIELD.sub(b"", answer.head)
        if self._head_as_sent:
            if head_to_compare != self._head_as_sent:
                self.abort()
            self._replay_bytes_left = self._content_bytes
            self._replay_digest = xxhash.xxh3_64()
            return
        self._head_as_sent = head_to_compare
        self._chunked = answer.framing is not Framing.LENGTH and self._exchange.http11
        self._put(self._exchange.client_head(answer))

    def put(self, piece: bytes, last: bool = False) -> bool:
        """Take a piece of content; return `congested`.

        Behind the last one `end` follows at once, and they leave together: a client that reads to the end of the
        content has then met the end of the message too, and can use its connection again (RFC 9112 §9.3).
        """
        if self._aborted or not piece:
            return False
        if self._replay_bytes_left:
            repeated, piece = piece[: self._replay_bytes_left], piece[self._replay_bytes_left :]
            self._replay_bytes_left -= len(repeated)
            self._replay_digest.update(repeated)
            if not self._replay_bytes_left and self._replay_digest.digest() != self._digest.digest():
                self.abort()
                return False
            if not piece:
                return False
        self._content_bytes += len(piece)
        self._digest.update(piece)
        data = chunked.encode_piece(piece) if self._chunked else piece
        if last and self._chunked and len(data) <= _JOINED_BYTES_MAX:
            self._last_piece = data
        else:
            self._put(data)
        return self.congested

    def end(self, trailers: bytes = b"") -> None:
        """Say that the content is complete."""
        if self._aborted:
            return
        if self._replay_bytes_left:
            self.abort()
            return
        self._ended = True
        if self._chunked:
            data, self._last_piece = self._last_piece, b""
            self._put(data + chunked.encode_whole(b"", trailers))
        self.pump()

    def interrupt(self) -> None:
        """Say that the answer broke off and will begin again."""
        self._replay_bytes_left = 0

    def abort(self) -> None:
        """Give up: the client's connection is cut, so that it can't take a part for the whole."""
        self._aborted = True
        self.close()
        client = self._exchange.client
        if client is not None:
            client.abort()

    def release(self) -> None:
        """What is in here may leave (design rule 2)."""
        self._released = True
        self.pump()

    def pump(self) -> None:
        """Give the client as much as it takes."""
        client = self._exchange.client
        if client is None or not self._released or self._aborted or not client.is_first(self._exchange):
            return
        while not client.write_blocked:
            if self._queue:
                piece = self._queue.popleft()
                self._memory_bytes -= len(piece)
                self._budget.memory_bytes -= len(piece)
                self._touched = self._touched or bool(self._head_as_sent)
            elif self._spool is not None:
                piece = self._read_spool()
                if not piece:
                    continue
                # A read of the file may end within a head.
                self._touched = True
            else:
                break
            self._written = True
            client.write(piece)
        if not self._queue and self._spool is None:
            if self._ended:
                client.finished(self._exchange)
            elif not client.write_blocked:
                self._exchange.drained()

    def close(self) -> None:
        """Drop what waits."""
        self._queue.clear()
        self._budget.memory_bytes -= self._memory_bytes
        self._memory_bytes = 0
        self._close_spool()

    def _close_spool(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None
            self._budget.spooling.discard(self)
        # A file keeps what was read of it until it is empty, so that is how it counts.
        self._budget.spool_bytes -= self._spool_written
        self._spool_read = self._spool_written = 0

    def _put(self, data: bytes) -> None:
        if self._exchange.client is None:
            return
        # A single piece is bounded by what one read from the target brings.
        fits = not self._queue or self._memory_bytes + len(data) <= self._memory_max
        if self._spool is None and ((fits and not self._budget.memory_is_full) or self._leaves_at_once()):
            self._queue.append(data)
            self._memory_bytes += len(data)
            self._budget.memory_bytes += len(data)
        else:
            self._write_spool(data)
        self.pump()

    def _leaves_at_once(self) -> bool:
        client = self._exchange.client
        return (
            self._released
            and not self._queue
            and client is not None
            and client.is_first(self._exchange)
            and not client.write_blocked
        )

    def _write_spool(self, data: bytes) -> None:
        counters = self._exchange.counters
        budget = self._budget
        if self._spool_written - self._spool_read + len(data) > self._spool_max:
            counters.limits_reached["answer_spool_bytes_max"] += 1
            self.abort()
            return
        while (largest := budget.largest_if_full(len(data))) is not None:
            # Who reads has little in its file; the one that holds most is cut, be it this one.
            counters.limits_reached["answers_spool_bytes_max"] += 1
            largest.abort()
            if self._aborted:
                return
        if budget.spool_bytes + len(data) > budget.spool_bytes_max:
            counters.limits_reached["answers_spool_bytes_max"] += 1
            self.abort()
            return
        try:
            if self._spool is None:
                self._spool = tempfile.TemporaryFile(prefix="interceptor-answer-")  # noqa: SIM115
                budget.spooling.add(self)
                counters.limits_reached["answer_memory_bytes_max"] += 1
            self._spool.seek(self._spool_written)
            self._spool.write(data)
        except OSError:
            # No room for the spool is the same as a spool that is full.
            counters.limits_reached["answer_spool_bytes_max"] += 1
            self.abort()
            return
        self._spool_written += len(data)
        budget.spool_bytes += len(data)
        counters.spooled_bytes += len(data)

    def _read_spool(self) -> bytes:
        assert self._spool is not None
        self._spool.seek(self._spool_read)
        piece = self._spool.read(_SPOOL_READ_BYTES)
        self._spool_read += len(piece)
        if self._spool_read == self._spool_written:
            self._close_spool()
        return piece
