"""A target that the tests script: a real loopback server, connection by connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType

from interceptor.address import Address
from tests.interceptor.fakes import heads, ok

Script = Callable[["Connection"], Awaitable[None]]


class Connection:
    """One accepted connection, the how-manieth it was (from 1), and what it has been asked."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.asked: list[str] = []

    async def requests(self, count: int = 1) -> list[str]:
        """Return the next `count` requests (without content) as "METHOD /path"."""
        found: list[str] = []
        for _ in range(count):
            found.extend(heads(await self.reader.readuntil(b"\r\n\r\n")))
        self.asked.extend(found)
        return found

    def write(self, *answers: bytes) -> None:
        self.writer.write(b"".join(answers))

    async def echo(self) -> None:
        """Answer each request with its path, until the peer ends."""
        while True:
            (request,) = await self.requests()
            self.write(ok(request.split(" ")[1].encode()))

    def reset(self) -> None:
        """Cut without a word: the peer gets RST, not FIN."""
        reset(self.writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Cut without a word: the peer gets RST, not FIN."""
    connected = writer.get_extra_info("socket")
    if connected is not None and connected.fileno() >= 0:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ScriptedTarget:
    """Runs `script` for each connection; `async with`.  Its exceptions fail the test at the end."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.connections: list[Connection] = []
        self.address = Address("127.0.0.1", 0)
        self._life = 1
        self.listens = True
        self._ended = False
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def asked(self) -> list[list[str]]:
        return [connection.asked for connection in self.connections]

    async def __aenter__(self) -> ScriptedTarget:
        self._server = await asyncio.start_server(self._accepted_in(self._life), "127.0.0.1", self.address.port)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._ended = True
        self._server.close()
        self.reset_all()
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        foreseen = (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError)
        for result in ended:
            if isinstance(result, BaseException) and not isinstance(result, foreseen):
                raise result

    def reset_all(self) -> None:
        """Cut every connection, as the end of a process does."""
        for writer in self._writers:
            reset(writer)
        self._writers.clear()

    def restart(self) -> None:
        """Die and come back at once (only while it `listens`); connections not accepted yet go with the socket."""
        assert self._server is not None
        self._server.close()
        self.reset_all()
        self._life += 1
        self.listens = False
        listening = socket.create_server(("127.0.0.1", self.address.port), backlog=100)
        self._tasks.append(asyncio.get_running_loop().create_task(self._listen(listening)))

    async def _listen(self, listening: socket.socket) -> None:
        self._server = await asyncio.start_server(self._accepted_in(self._life), sock=listening)
        self.listens = True

    def _accepted_in(self, life: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._ended:
                # It was accepted before the end, and only now made known.
                reset(writer)
                return
            self._writers.append(writer)
            self._tasks.append(asyncio.get_running_loop().create_task(self._run(life, reader, writer)))

        return accepted

    async def _run(self, life: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A connection that asks for nothing, to see whether the target is ready, is not the script's.
            data = await reader.read(1 << 24)
            if data and life == self._life:
                reader.feed_data(data)
                connection = Connection(len(self.connections) + 1, reader, writer)
                self.connections.append(connection)
                await self._script(connection)
        finally:
            writer.close()


async def echo(connection: Connection) -> None:
    await connection.echo()
