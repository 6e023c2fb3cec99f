"""Clients with unique operation ids against the counter, and what must be true when they are done."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from dataclasses import dataclass, field

from support import Processes, Server, accepts, wait_until

from bench.processes import free_port


def counter_command(port: int) -> list[str]:
    """The example application, remembering the order of what it applied."""
    return [sys.executable, "-m", "bench.counter", "--port", str(port), "--journal"]


def start_counter(processes: Processes, port: int | None = None) -> Server:
    """Start the counter; returns once it listens."""
    served = Server("127.0.0.1", port or free_port())
    served.process, served.output = processes.start(counter_command(served.port), name="counter")
    wait_until(lambda: accepts(served.host, served.port), "the counter")
    return served


def applied(server: Server) -> list[str]:
    """Return the operations that the counter has applied, in order."""
    with urllib.request.urlopen(f"{server.url}/journal", timeout=20.0) as answer:
        found = json.load(answer)
    operations: list[str] = found["ops"] if isinstance(found, dict) else found
    return operations


def apply(server: Server, operations: list[str]) -> None:
    """Have the counter apply operations, one after the other."""
    for operation in operations:
        url = f"{server.url}/counters/client{operation.partition('-')[0]}?op={operation}"
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=20.0).close()


def digest_of(server: Server) -> str:
    """Return the digest of the counter's whole state."""
    with urllib.request.urlopen(f"{server.url}/", timeout=20.0) as answer:
        return str(json.load(answer)["digest"])


@dataclass
class Seen:
    """What the clients saw."""

    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Clients:
    """Each adds to a counter of its own, one request after the other, and checks the value that it is told."""

    def __init__(self, server: Server, count: int, first_number: int = 0) -> None:
        self.seen = Seen()
        self._server = server
        self._stopping = False
        self._grown = asyncio.Event()
        self._tasks = [asyncio.create_task(self._work(first_number + number)) for number in range(count)]

    async def acknowledged(self, more: int) -> None:
        """Return when so many more operations have been acknowledged."""
        wanted = len(self.seen.acknowledged) + more
        while len(self.seen.acknowledged) < wanted:
            self._grown.clear()
            await asyncio.wait_for(self._grown.wait(), 60.0)

    async def finish(self) -> Seen:
        """Let each have its last answer."""
        self._stopping = True
        await asyncio.wait_for(asyncio.gather(*self._tasks), 60.0)
        return self.seen

    async def _work(self, number: int) -> None:
        own = sent = 0
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopping:
            sent += 1
            operation = f"{number}-{sent}"
            try:
                streams = streams or await asyncio.open_connection(self._server.host, self._server.port)
                status, content = await _add(*streams, number, operation)
            except (OSError, asyncio.IncompleteReadError):
                self.seen.broken.append(operation)
                if streams is not None:
                    streams[1].close()
                streams = None
                await asyncio.sleep(0.01)  # the interceptor is away; the port refuses meanwhile
                continue
            if status != 200:
                self.seen.refused.append(operation)
                continue
            own += 1
            self.seen.acknowledged.append(operation)
            value = json.loads(content)["value"]
            # Operations whose answer never came may have been applied: the value can only be larger.
            if value < own or (value > own and not self.seen.broken):
                self.seen.wrong.append(f"{operation}: {value} instead of {own}")
            own = value
            self._grown.set()
        if streams is not None:
            streams[1].close()


async def _add(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, operation: str
) -> tuple[int, bytes]:
    writer.write(
        f"POST /counters/client{number}?op={operation} HTTP/1.1\r\nHost: counter\r\nContent-Length: 0\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r")[0])
    return int(head.split(b" ")[1]), await reader.readexactly(length)
