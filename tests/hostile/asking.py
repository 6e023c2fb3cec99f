"""A hostile client: sends a case, ends its side, and keeps what comes until the connection ends."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from case import Case
from recording import READERS, Read, RecordingTarget
from support import SOCKET_TIMEOUT_S, Server


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
        with contextlib.suppress(ConnectionError):
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
