"""A hostile client: sends a case, ends its side, and keeps what comes until the connection ends."""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import dataclass

from case import Case
from recording import READERS, Read, RecordingTarget
from support import SOCKET_TIMEOUT_S, Server

_LAST_CHUNK = re.compile(rb"(?s)(?:\A|\r\n)0\r\n(?:.*\r\n)?\r\n\Z")


@dataclass(frozen=True)
class Verdict:
    """What a proxy made of a case.

    `statuses` are what the client read, `streams` the bytes that the target got on each connection, `misread` what the
    target refused of them.
    """

    statuses: tuple[int, ...]
    streams: list[bytes]
    misread: list[str]

    @property
    def requests_read(self) -> int:
        """How many requests h11 reads in what was forwarded."""
        return sum(len(read_safely("h11", stream)) for stream in self.streams)

    @property
    def text(self) -> str:
        """The verdict as the table in the documentation shows it."""
        shown = " ".join(str(status) for status in self.statuses) or "closed"
        if self.misread:
            return f"{shown}, **target misreads**"
        passed = self.statuses.count(200)
        return shown if passed == self.requests_read else f"{shown}, **{self.requests_read} reach the target**"


def read_safely(reader: str, stream: bytes) -> list[Read]:
    """What this reader makes of a stream, as far as it gets."""
    try:
        return READERS[reader](stream)
    except Exception as error:
        return [(b"error", type(error).__name__.encode(), str(error).encode())]


def judge(proxy: Server, target: RecordingTarget, case: Case) -> Verdict:
    """Send the case through a proxy in front of the target."""
    target.take()
    with socket.create_connection((proxy.host, proxy.port), timeout=SOCKET_TIMEOUT_S) as connection:
        received = []
        # A proxy may have refused, answered and closed before everything was sent.
        with contextlib.suppress(OSError):
            connection.sendall(case.data)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65_536):
                received.append(data)
    streams, misread = target.take()
    return Verdict(statuses_of(b"".join(received), case.data.startswith(b"HEAD ")), streams, misread)


def statuses_of(data: bytes, first_to_head: bool) -> tuple[int, ...]:
    """Return the statuses of the answers that a connection carried."""
    found: list[int] = []
    while data.startswith(b"HTTP/"):
        head, _, rest = data.partition(b"\r\n\r\n")
        found.append(int(head.split(b" ", 2)[1]))
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if first_to_head and len(found) == 1:
            data = rest
        elif lengths:
            data = rest[int(lengths[0]) :]
        else:
            data = b""
    return tuple(found)


def judge_answer(proxy: Server, number: int) -> str:
    """Ask a target that answers /N with the answer case N, and return what the client is left with."""
    received = []
    with socket.create_connection((proxy.host, proxy.port), timeout=SOCKET_TIMEOUT_S) as connection:
        connection.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % number)
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65_536):
                received.append(data)
    head, _, content = b"".join(received).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/"):
        return "closed"
    status = head.split(b"\r\n", 1)[0].split(None, 2)[1].decode()
    return status if status != "200" else f"200, {_state_of(head.lower(), content)}"


def _state_of(head: bytes, content: bytes) -> str:
    """Whether a client that reads by the framing of the head has all of it."""
    if b"transfer-encoding:" in head:
        return "whole" if _LAST_CHUNK.search(content) else "cut"
    if b"content-length:" in head:
        return "whole" if content in (b"hello", b"World") else "cut"
    return "until the end of the connection"
