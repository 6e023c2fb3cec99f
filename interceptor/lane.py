"""A lane: one ordered, pipelined connection to the target at a time.

Order is guaranteed by TCP and by HTTP/1.1 itself (RFC 9112 §9.3.2): what is delivered leaves in one write, and answers
come back in the same order.  Nothing behind an answer with `Connection: close` was processed (RFC 9112 §9.6), so it may
be sent again, on another connection.  A target that closes after the same number of answers twice in a row gets no more
than that many events on a connection: closing on unread requests it would reset, which may cost the answers on their
way.  A target that is not known to take pipelined requests in turn gets one event at a time (see
`interceptor.pipelining`).  Any other loss with something unanswered is for the lane's owner to judge.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from interceptor.address import Target
from interceptor.counters import Counters
from interceptor.delivery import Delivery
from interceptor.lane_connection import LaneConnection
from interceptor.limits import Limits
from interceptor.message import plain
from interceptor.pipelining import Pipelining, takes_turns
from interceptor.target.acceptance import wait_until_accepted
from interceptor.tasks import TaskGroup
from interceptor.wire.answer import Answer

logger = logging.getLogger(__name__)

# After a living target has closed on several events a lane sends so many one at a time; four times as many each time.
CAREFUL_EVENTS = 10_000
CAREFUL_EVENTS_MAX = 10_000_000
# Before another attempt to connect to a target that is known to live.
RECONNECT_S = 0.05


class Lane:
    """Delivers in order.  `on_lost(lane, reason)` is called when the connection breaks, or can't be made.

    `confirm()` is asked for each new connection: is the incarnation still the one that this lane delivers to?  Where it
    takes time to know, `ask()` is awaited before that; false: nobody tells.  While `is_watched()`, nothing is sent on a
    connection before the target has accepted it.
    `written(deliveries)` gives the bytes that leave.
    """

    def __init__(
        self,
        target: Target,
        limits: Limits,
        counters: Counters,
        *,
        on_lost: Callable[[Lane, str], None],
        confirm: Callable[[], bool],
        ask: Callable[[], Awaitable[bool]] | None = None,
        is_watched: Callable[[], bool] = lambda: False,
        written: Callable[[Sequence[Delivery]], bytes] = plain,
        pipelining: Pipelining = Pipelining.AUTO,
        is_known_to_take_turns: Callable[[], bool] = lambda: False,
    ) -> None:
        self.target = target
        self.limits = limits
        self.counters = counters
        self.written = written
        # How many events may be under way at once: 1 while the culprit of repeated deaths is looked for.
        self.window_events: int | None = None
        # The connection was lost, and the owner has not judged that yet: nothing is sent.
        self.lost = False
        self._lost_idle = False
        self._lost_unanswered: list[Delivery] = []
        # Something waits for the lane to be empty: the target does not wait for slow clients.
        self.draining = False
        self.on_room: Callable[[], None] | None = None
        self._on_lost = on_lost
        self._confirm = confirm
        self._ask = ask
        self._is_watched = is_watched
        self._queue: deque[Delivery] = deque()
        self._connection: LaneConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        # After how many answers the target closes a connection, once that is known; after how many it did last time.
        self._budget_events: int | None = None
        self._last_budget_events = 0
        self._careful_events = 0
        self._next_careful_events = CAREFUL_EVENTS
        # Whether the target is known to take pipelined requests in turn.
        self._takes_turns = pipelining is Pipelining.ON
        self._learns = pipelining is Pipelining.AUTO
        self._is_known_to_take_turns = is_known_to_take_turns
        # The next incarnation is one of the same server, most likely: its first answer would come too late.
        self._named_unfit = False
        self._has_met = False
        self._tasks = TaskGroup("lane")

    @property
    def serial(self) -> bool:
        """Whether one event at a time is under way because of how the target serves or closes connections."""
        return self._budget_events == 1 or self._careful_events > 0 or (self._has_met and not self._takes_turns)

    @property
    def pending(self) -> int:
        """Events that were handed over and are not answered."""
        connection = self._connection
        return len(self._queue) + (len(connection.in_flight if connection is not None else self._lost_unanswered))

    @property
    def queued(self) -> int:
        """Events that were handed over and are not sent."""
        return len(self._queue)

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def lost_idle(self) -> bool:
        """Whether an established connection was lost on which nothing was unanswered."""
        return self.lost and self._lost_idle

    @property
    def lost_nothing(self) -> bool:
        """Whether the loss leaves nothing in doubt: no connection was made, or nothing was unanswered on it."""
        return self.lost and not self._lost_unanswered

    @property
    def oldest(self) -> Delivery | None:
        """The first unanswered event."""
        if self._connection is not None and self._connection.in_flight:
            return self._connection.in_flight[0]
        return self._queue[0] if self._queue else None

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Deliver, behind everything that was handed over before."""
        connection = self._connection
        if connection is None or self._queue or self._is_bounded or connection.stale():
            self._queue.extend(deliveries)
            if connection is not None:
                # Somebody waits behind the answer that a slow client reads (see LaneConnection.send).
                connection.resume()
            self.pump()
        else:
            connection.send(deliveries)

    def pump(self) -> None:
        """Send what waits, as far as connection and window allow."""
        connection = self._connection
        if self.lost or (not self._queue and connection is not None):
            return
        if connection is None or connection.stale():
            if self._queue:
                self.connect()
            return
        if self._is_bounded:
            batch = [self._queue.popleft() for _ in range(min(self._room(connection), len(self._queue)))]
            self._careful_events = max(0, self._careful_events - len(batch))
        else:
            batch = list(self._queue)
            self._queue.clear()
        if batch:
            connection.send(batch)

    @property
    def _is_bounded(self) -> bool:
        return (
            not self._takes_turns
            or self.window_events is not None
            or self._budget_events is not None
            or self._careful_events > 0
        )

    def _room(self, connection: LaneConnection) -> int:
        """How many events more may be under way on this connection, of which there is a bound."""
        under_way = len(connection.in_flight)
        if self._budget_events is not None and connection.sent >= self._budget_events and not under_way:
            # It did not close this time.
            self._budget_events = None
        room = len(self._queue)
        if self._careful_events > 0 or not self._takes_turns:
            room = min(room, 1 - under_way)
        if self.window_events is not None:
            room = min(room, self.window_events - under_way)
        if self._budget_events is not None:
            room = min(room, self._budget_events - connection.sent)
        return max(0, room)

    def connect(self) -> None:
        """Open a connection (a new one, where one is open)."""
        if self._connecting is not None:
            return
        self._drop_connection()
        self._connecting = self._tasks.start(self._connect())

    def connect_again(self) -> None:
        """Forget a loss that leaves nothing in doubt; what waits goes on a new connection."""
        self.take_back_sent()
        self._connecting = self._tasks.start(self._connect(RECONNECT_S))

    def take_back(self) -> list[Delivery]:
        """Close the connection and return everything unanswered, in order: the incarnation is over."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        unanswered = [*self.take_back_sent(), *self._queue]
        self._queue.clear()
        self._budget_events = None
        self._last_budget_events = 0
        if self._learns:
            self._takes_turns = False
        return unanswered

    def take_back_sent(self) -> list[Delivery]:
        """Return what was sent and not answered; what was not sent stays for the next connection."""
        sent, self._lost_unanswered = self._lost_unanswered, []
        self.lost = False
        if self._connection is not None:
            sent.extend(self._connection.give_back())
            self._drop_connection()
        return sent

    def take_back_lost(self) -> list[Delivery]:
        """Return what was sent and not answered on a connection that a living target has closed.

        If that was more than one event, they go one at a time for a while (see CAREFUL_EVENTS): then there is nothing
        unread on which it could close.
        """
        sent = self.take_back_sent()
        if len(sent) > 1:
            self._careful_events = self._next_careful_events
            self._next_careful_events = min(4 * self._next_careful_events, CAREFUL_EVENTS_MAX)
        return sent

    def refuse_overdue(self, arrived_before_s: float) -> None:
        """Answer 504 to the clients of events that have been under way for too long; the events themselves go on."""
        in_flight = self._connection.in_flight if self._connection is not None else self._lost_unanswered
        for delivery in (*in_flight, *self._queue):
            if not delivery.take_overdue(arrived_before_s):
                break

    def drain(self) -> None:
        """Take what the target has to say at its own speed, until `draining` is taken back."""
        self.draining = True
        if self._connection is not None:
            self._connection.resume()

    def close_idle(self) -> None:
        """Close a connection on which nothing is under way; the next event opens another one."""
        if not self.pending:
            self._drop_connection()

    async def close(self) -> None:
        """Close for good; what is unanswered stays so."""
        await self._tasks.cancel_all()
        self._drop_connection()

    async def _connect(self, pause_s: float = 0.0) -> None:
        if pause_s:
            await asyncio.sleep(pause_s)
        try:
            async with asyncio.timeout(self.limits.connect_timeout_s):
                _, connection = await self.target.connect(lambda: LaneConnection(self))
        except (OSError, TimeoutError) as error:
            self._connecting = None
            if isinstance(error, TimeoutError):
                self.counters.limits_reached["connect_timeout_s"] += 1
            self._lose(f"no connection to the target at {self.target}: {error or 'timed out'}")
            return
        if self._ask is not None and not await self._is_told(self._ask, connection):
            self._connecting = None
            self._lose("a new connection was made, and nobody tells which incarnation it leads to")
            return
        if self._is_watched():
            await self._until_accepted(connection)
        self._connecting = None
        self.counters.lane_connections += 1
        if self._learns and not self._named_unfit and self._is_known_to_take_turns():
            self._takes_turns = True
        self._connection = connection
        if not self._confirm():
            self._lose("another incarnation took the connection")
            return
        if connection.lost_reason is not None:
            self._lose(connection.lost_reason)
            return
        self.pump()
        if self.on_room is not None:
            self.on_room()

    async def _until_accepted(self, connection: LaneConnection) -> None:
        try:
            accepted = await wait_until_accepted(connection.socket, self.limits.accept_wait_s)
        except BaseException:
            connection.close()
            raise
        if not accepted:
            self.counters.limits_reached["accept_wait_s"] += 1

    async def _is_told(self, ask: Callable[[], Awaitable[bool]], connection: LaneConnection) -> bool:
        told = False
        try:
            told = await ask()
        finally:
            if not told:
                connection.close()
        return told

    # --- told by the connection

    def connection_lost(self, connection: LaneConnection, reason: str) -> None:
        """The connection broke without having said so."""
        if connection is self._connection:
            self._lose(reason)

    def meet(self, answer: Answer) -> None:
        """The first answer on a connection is here: it may say whether the target takes turns."""
        named = takes_turns(answer.head) if self._learns else None
        if named is not None:
            self._takes_turns = named
            self._named_unfit = not named
        if self._learns and not self._takes_turns and not self._has_met:
            logger.info(
                "neither the target's answers nor its process tell that it takes pipelined requests in turn: it gets "
                "one event at a time. If it does, --pipelining on is faster (docs/suitability.md)"
            )
        self._has_met = True

    def connection_closes(self, connection: LaneConnection) -> None:
        """The target said that it reads no more: what was behind the last answer goes on a new connection."""
        unprocessed = connection.give_back()
        self.counters.resent += len(unprocessed)
        # The same number twice in a row is a habit: a server's keep-alive budget.
        is_habit = connection.answered == self._last_budget_events
        self._budget_events = connection.answered if is_habit else None
        self._last_budget_events = connection.answered
        self._queue.extendleft(reversed(unprocessed))
        self._drop_connection()
        if self._queue:
            self.connect()
        elif self.on_room is not None:
            self.on_room()

    def answered(self) -> None:
        """Answers have come: there may be room for more."""
        if self._queue:
            self.pump()
        if self.on_room is not None:
            self.on_room()

    def _lose(self, reason: str) -> None:
        connection = self._connection
        self.lost = True
        if connection is not None:
            self._lost_unanswered = connection.give_back()
            self._drop_connection()
        self._lost_idle = connection is not None and not self._lost_unanswered
        self._on_lost(self, reason)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
