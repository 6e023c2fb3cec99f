"""The application on a socket: every request that one read brought is answered in one write."""

import asyncio
from typing import cast

from bench.counter.application import Application
from bench.counter.http import Request, RequestError, encode_answer, next_request, wanted_bytes

LINGER_S = 2.0
BACKLOG = 4096


class CounterConnection(asyncio.Protocol):
    """One client's connection. Keep-alive and pipelined; answers leave in the order of the requests."""

    __slots__ = ("_application", "_finished", "_have_bytes", "_rest", "_transport", "_wanted_bytes")

    def __init__(self, application: Application) -> None:
        self._application = application
        self._transport: asyncio.Transport
        self._rest: list[bytes] = []
        self._have_bytes = self._wanted_bytes = 0
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._finished:
            return
        if self._rest:
            self._rest.append(data)
            self._have_bytes += len(data)
            if self._have_bytes < self._wanted_bytes:
                return
            data = b"".join(self._rest)
        answers: list[bytes] = []
        position = 0
        try:
            while (request := next_request(data, position)) is not None:
                position = request.end
                answers.append(self._answer(request))
                if not request.keep_alive:
                    self._finished = True
                    break
            self._keep(data, position)
        except RequestError as error:
            answers.append(encode_answer(error.status, b'{"error":"%b"}' % str(error).encode(), _CLOSE))
            self._finished = True
        if answers:
            self._transport.write(b"".join(answers))
        if self._finished:
            self._finish()

    def _keep(self, data: bytes, position: int) -> None:
        """What is left of `data` waits for the rest of its request."""
        self._rest = [data[position:]] if position < len(data) else []
        self._have_bytes = len(data) - position
        self._wanted_bytes = wanted_bytes(data, position) if self._rest else 0

    def _answer(self, request: Request) -> bytes:
        method, target, body, http_1_0, keep_alive, _ = request
        status, answer = self._application.answer(method, target, body)
        if keep_alive and not http_1_0 and method != b"HEAD":
            return encode_answer(status, answer)
        connection = _CLOSE if not keep_alive else _KEEP_ALIVE if http_1_0 else b""
        return encode_answer(status, answer, connection, with_body=method != b"HEAD")

    def _finish(self) -> None:
        # Closing while unread bytes arrive would reset the connection, and the peer could lose the last answer:
        # end our direction, discard what still comes, and let the peer close.
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)

    def pause_writing(self) -> None:
        # A peer that does not read its answers gets no more requests in: the buffer stays bounded.
        if not self._finished:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._finished:
            self._transport.resume_reading()


_CLOSE = b"Connection: close\r\n"
_KEEP_ALIVE = b"Connection: keep-alive\r\n"


async def listen(application: Application, host: str, port: int) -> asyncio.Server:
    """Serve the application on host:port; port 0 takes any free one. Raises OSError where the port is taken."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: CounterConnection(application), host, port, reuse_address=True, backlog=BACKLOG
    )
