"""Stand-ins that the tests of this directory share: each records what it was asked, and acts only when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import xxhash

from interceptor.wire.answer import Answer, AnswerReader
from storage_backends.records import Event


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    """Return a request head as it is forwarded."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: app", *fields, "", ""]).encode()


def event(version: int, path: str | None = None, body: bytes = b"", method: str = "GET") -> Event:
    return Event(version, version, get(path or f"/{version}", method=method), body)


def answer_of(data: bytes, *, to_head_request: bool = False) -> Answer:
    """Return the first head in `data` as the lane reads it."""
    reader = AnswerReader(65_536)
    reader.feed(data)
    answer = reader.read_head(to_head_request)
    assert answer is not None
    return answer


def ok(content: bytes = b"", *fields: str, status: str = "200 OK") -> bytes:
    """Return a whole answer framed by length."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *fields, "", ""])
    return head.encode() + content


class FakeClient:
    """The client's side of exchanges: keeps what was written, in the order in which answers may leave."""

    def __init__(self) -> None:
        self.exchanges: list[Any] = []
        self.written: list[bytes] = []
        self.write_blocked = False
        self.aborted = False
        self.finishes = 0
        self.last_version = 0

    @property
    def output(self) -> bytes:
        return b"".join(self.written)

    @property
    def status(self) -> int | None:
        """Of the last answer that has left."""
        heads = [piece for piece in self.written if piece.startswith(b"HTTP/1.1 ")]
        return int(heads[-1][9:12]) if heads else None

    def is_first(self, exchange: Any) -> bool:
        return bool(self.exchanges) and self.exchanges[0] is exchange

    def write(self, data: bytes) -> None:
        assert not self.aborted, "a write to a client that was cut"
        self.written.append(data)

    def answer_whole(self, exchange: Any, data: bytes) -> None:
        assert exchange in self.exchanges, "a second answer to one request"
        if self.exchanges[0] is not exchange:
            exchange.whole = data
            return
        self.write(data)
        self.finished(exchange)

    def finished(self, exchange: Any) -> None:
        assert self.exchanges.pop(0) is exchange
        self.finishes += 1
        while self.exchanges and self.exchanges[0].whole is not None:
            self.write(self.exchanges.pop(0).whole)
            self.finishes += 1
        if self.exchanges and self.exchanges[0].stream is not None:
            self.exchanges[0].stream.pump()

    def abort(self) -> None:
        self.aborted = True
        gone, self.exchanges = self.exchanges, []
        for exchange in gone:
            exchange.client_gone()


class FakeDelivery:
    """A delivery that keeps what it was told.  Implements Delivery."""

    is_replay = False

    def __init__(self, of: Event, *, told: asyncio.Event | None = None) -> None:
        self.event = of
        self.is_head_request = of.head.startswith(b"HEAD ")
        self.interim: list[int] = []
        self.status: int | None = None
        self.content = b""
        self.ended = False
        self.interruptions = 0
        self.refusal: tuple[int, str] | None = None
        self.slow = False
        self.arrived_s = 0.0
        self.overdue = False
        self.resume: Callable[[], None] | None = None
        self.pieces = 0
        self.last_pieces: list[bytes] = []
        self.trailers = b""
        self._told = told

    def take_interim(self, answer: Answer) -> None:
        self.interim.append(answer.status)

    def take_whole(self, answer: Answer, content: bytes, digest: int) -> None:
        self.status, self.content, self.ended = answer.status, content, True
        self._tell()

    def take_head(self, answer: Answer) -> None:
        self.status = answer.status
        self._tell()

    def take_piece(self, piece: bytes, last: bool) -> bool:
        self.content += piece
        self.pieces += 1
        if last:
            self.last_pieces.append(piece)
        self._tell()
        return self.slow

    def watch_drain(self, resume: Callable[[], None]) -> None:
        self.resume = resume
        self._tell()

    def take_end(self, length_bytes: int, digest: int, trailers: bytes) -> None:
        assert length_bytes == len(self.content)
        self.ended, self.trailers = True, trailers
        self._tell()

    def take_interruption(self) -> None:
        self.interruptions += 1

    def take_refusal(self, status: int, detail: str) -> None:
        self.refusal = (status, detail)
        self._tell()

    def take_overdue(self, arrived_before_s: float) -> bool:
        self.overdue = self.arrived_s < arrived_before_s
        return self.overdue

    def _tell(self) -> None:
        if self._told is not None:
            self._told.set()


class FakePassages:
    """Takes unrecorded exchanges and keeps them."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.reads_in_flight = 0
        self.on_idle: Callable[[], None] | None = None

    def start(self, exchange: Any) -> None:
        self.started.append(exchange)

    def close_idle(self) -> None:
        """There is nothing idle."""


class FakeLane:
    """Takes deliveries and answers them when told to.  What the projector needs of a lane."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.unanswered: list[Any] = []
        self.batches: list[list[int]] = []
        self.on_room: Callable[[], None] | None = None
        self.auto_answer = False
        self.queued = 0
        self.most_pending = 0

    @property
    def pending(self) -> int:
        return len(self.unanswered)

    @property
    def versions(self) -> list[int]:
        return [delivery.event.version for delivery in self.sent]

    def send(self, deliveries: Sequence[Any]) -> None:
        self.sent.extend(deliveries)
        self.unanswered.extend(deliveries)
        self.batches.append([delivery.event.version for delivery in deliveries])
        self.most_pending = max(self.most_pending, self.pending)
        if self.auto_answer:
            asyncio.get_running_loop().call_soon(self.answer_all)

    def answer(self, content: bytes | None = None) -> None:
        """Answer the first unanswered one, with its path where nothing else is said."""
        delivery = self.unanswered.pop(0)
        content = delivery.event.head.split(b" ")[1] if content is None else content
        delivery.take_whole(answer_of(ok(content)), content, xxhash.xxh3_64_intdigest(content))
        if self.on_room is not None:
            self.on_room()

    def answer_all(self) -> None:
        while self.unanswered:
            self.answer()

    def take_back(self) -> list[Any]:
        unanswered, self.unanswered = self.unanswered, []
        return unanswered


class FakeDetector:
    """Names the incarnation as the test says.  Implements DeathDetector."""

    def __init__(self, identity: str | None = "life-1", *, awaits_connection: bool = False) -> None:
        self.identity = identity
        self.awaits_connection = awaits_connection
        self.losses = 0

    async def ask(self) -> bool:
        return True

    def look(self) -> str | None:
        return self.identity

    def connection_lost(self) -> None:
        self.losses += 1

    def close(self) -> None:
        """Nothing is held."""


class ManualClock:
    """Stands in for `time.monotonic` where a module imported it."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def heads(data: bytes) -> Iterator[str]:
    """Yield the method and path of each bodiless request in `data`."""
    for head in data.split(b"\r\n\r\n")[:-1]:
        yield " ".join(head.decode().split("\r\n")[0].split(" ")[:2])


async def turn(turns: int = 1) -> None:
    """Let the event loop go round."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Let the event loop go round until `condition` holds; fails loudly instead of hanging."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 (what is awaited has no event of its own)
            await asyncio.sleep(0)
