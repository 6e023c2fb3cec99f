"""What clients do: operations with ids of their own, in many shapes of HTTP/1.1."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

from bench.chaos.history import READS, Kind, Operation

SHARED_KEYS = 3
BIG_BODY_BYTES = 150_000
BIG_ANSWER_BYTES = 200_000

_SHAPES: tuple[tuple[Kind, str, str, int], ...] = (
    (Kind.ADD, "POST", "counters", 30),
    (Kind.COUNT, "GET", "counters", 10),
    (Kind.WRITE, "POST", "registers", 20),
    (Kind.READ, "GET", "registers", 15),
    (Kind.APPEND, "POST", "lists", 15),
    (Kind.LIST, "GET", "lists", 10),
)


@dataclass(frozen=True)
class Request:
    """An operation and its bytes; `head_bytes` is where its content begins."""

    operation: Operation
    data: bytes
    head_bytes: int


class Workload:
    """Makes requests for one client, from a seed.

    Counters and registers are shared, by all clients of an epoch: the next epoch has new ones, which keeps each key's
    history short enough to be searched.  A list belongs to one client.
    """

    def __init__(self, client: int, chance: random.Random, read_mark: str) -> None:
        """`read_mark` is what a read has behind its other parameters."""
        self._read_mark = read_mark
        self._client = client
        self._chance = chance
        self._made = 0

    def next(self, epoch: int, now_ns: int) -> Request:
        """Make one request."""
        chance = self._chance
        kind, method, collection, _ = chance.choices(_SHAPES, [shape[3] for shape in _SHAPES])[0]
        key = f"e{epoch}-{chance.randrange(SHARED_KEYS)}"
        if collection == "lists":
            key = f"e{epoch}-client{self._client}"
        return self._request(kind, method, collection, key, now_ns)

    def poison(self, now_ns: int) -> Request:
        """Make a request that kills every incarnation."""
        return self._request(Kind.POISON, "POST", "poison", "p", now_ns)

    def _request(self, kind: Kind, method: str, collection: str, key: str, now_ns: int) -> Request:
        self._made += 1
        chance = self._chance
        identifier = f"{self._client}.{self._made}"
        target = f"/{collection}/{key}?op={identifier}"
        if chance.random() < 0.06:
            target += f"&pad={BIG_ANSWER_BYTES}"
        if chance.random() < 0.1:
            target += "&chunked=1"
        if kind in READS:
            target += self._read_mark
        body = b""
        if method == "POST":
            body = chance.randbytes(BIG_BODY_BYTES if chance.random() < 0.03 else chance.randrange(200))
        head, content = _framed(f"{method} {target} HTTP/1.1\r\nHost: chaos\r\n", body, chunked=chance.random() < 0.1)
        streams = "&pad=" in target or "&chunked=" in target
        operation = Operation(identifier, self._client, kind, key, zlib.crc32(body), now_ns, streams=streams)
        return Request(operation, head + content, len(head))


def _framed(head: str, body: bytes, *, chunked: bool) -> tuple[bytes, bytes]:
    if not body:
        # A POST without content says so (RFC 9110 §8.6).
        length = "Content-Length: 0\r\n" if head.startswith("POST") else ""
        return f"{head}{length}\r\n".encode(), b""
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body
    half = len(body) // 2 or 1
    parts = [part for part in (body[:half], body[half:]) if part]
    content = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), content
