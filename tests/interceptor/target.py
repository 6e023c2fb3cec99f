"""A target that the tests script: a real loopback server, connection by connection."""

from __future__ import annotations

import asyncio
import contextlib
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
    """Runs `script` for each connection; `async with`.  Its exceptions fail the test at the end.

    It accepts by itself: asyncio.Server of Python 3.11 leaves a connection open that it has accepted when it is closed.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listening: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.connections: list[Connection] = []
        self.address = Address("127.0.0.1", 0)
        self._life = 1
        self._accepted: list[socket.socket] = []
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def asked(self) -> list[list[str]]:
        return [connection.asked for connection in self.connections]

    async def __aenter__(self) -> ScriptedTarget:
        self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._die()
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for accepted in self._accepted:
            accepted.close()
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
        """Die and come back at once; connections not accepted yet go with the socket."""
        self._die()
        self._listen()

    def _die(self) -> None:
        assert self._listening is not None
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        self._life += 1
        self.reset_all()

    def _listen(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.address.port), backlog=100)
        self._listening.setblocking(False)
        self.address = Address("127.0.0.1", self._listening.getsockname()[1])
        asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            accepted, _ = listening.accept()
            # As servers do.  Without it the last answer may wait until the one before it is acknowledged, and is lost
            # if the connection is then closed on unread requests: the kernel sends RST (RFC 9112 §9.6).
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted.append(accepted)
            self._tasks.append(asyncio.get_running_loop().create_task(self._run(self._life, accepted)))

    async def _run(self, life: int, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        if life != self._life:
            reset(writer)
            return
        self._writers.append(writer)
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
