"""Resident memory against connections: ten thousand clients that have asked once and then stay connected."""

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.processes import ProcessError, rss_bytes
from bench.subjects import Running, start_subject

CONNECTIONS = (0, 1000, 5000, 10_000)
# HAProxy did not serve all of 10,000 clients with the 20,000 descriptors that there are here.
SUBJECTS = ("interceptor-memory", "interceptor-file-strict", "nginx")
ANSWER_TIMEOUT_S = 30.0
SETTLE_S = 0.5
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: idle\r\n\r\n"
# A few thousand from each loopback address, so that the range of source ports is never the limit.
_PER_ADDRESS = 4000

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class IdleMemory:
    """Resident memory in bytes at each number of open connections, and by how much each one added."""

    subject: str
    connections: list[int]
    rss_bytes: list[int]
    served: int

    @property
    def bytes_per_connection(self) -> float:
        """From the first number to the last; the kernel's own buffers are no part of it."""
        return (self.rss_bytes[-1] - self.rss_bytes[0]) / max(self.connections[-1] - self.connections[0], 1)


def measure_memory(
    subjects: Sequence[str], connections: Sequence[int], directory: Path, progress: Progress
) -> list[IdleMemory]:
    """Open, ask once, stay. Raises ProcessError where a client is not served, or OSError."""
    found: list[IdleMemory] = []
    for name in subjects:
        with ExitStack() as stack:
            found.append(_measure(start_subject(name, directory / name, stack), connections, stack))
        progress(f"{name:<28} {found[-1].bytes_per_connection:8.0f} bytes a connection, all {found[-1].served} served")
    return found


def _measure(subject: Running, connections: Sequence[int], stack: ExitStack) -> IdleMemory:
    if subject.proxy is None:
        raise ProcessError("there is no proxy whose memory could be measured")
    clients: list[socket.socket] = []
    rss: list[int] = []
    with _client(subject.port, 0) as first:
        # What the first request makes it load is not the connections' memory.
        _ask(first)
        for wanted in connections:
            while len(clients) < wanted:
                clients.append(stack.enter_context(_client(subject.port, len(clients))))
                _ask(clients[-1])
            time.sleep(SETTLE_S)
            rss.append(rss_bytes(subject.proxy.pid))
    # All of them, once more: none was closed to make room for another.
    for client in clients:
        _ask(client)
    return IdleMemory(subject.name, list(connections), rss, len(clients))


def _client(port: int, number: int) -> socket.socket:
    client = socket.socket()
    client.settimeout(ANSWER_TIMEOUT_S)
    client.bind((f"127.0.0.{2 + number // _PER_ADDRESS}", 0))
    client.connect(("127.0.0.1", port))
    return client


def _ask(client: socket.socket) -> None:
    client.sendall(_REQUEST)
    answer = client.recv(65_536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ProcessError(f"a client was not served: {answer[:200]!r}")
