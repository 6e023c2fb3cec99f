"""A server that owns its sockets, and so can do on the wire what no framework would."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from typing import cast

from bench.chaos.target.application import Application
from bench.chaos.target.control import BIG_BYTES, EXIT_STATUS, NEEDS_BIG, ON_THE_WIRE, SLOW_S, Control, after, before
from bench.counter.http import Request, next_request

_PR_SET_PDEATHSIG = 1


class RawConnection(asyncio.Protocol):
    """One connection.  Keep-alive and pipelined."""

    def __init__(self, application: Application, control: Control) -> None:
        self._application = application
        self._control = control
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        position = 0
        while not self._transport.is_closing() and (request := next_request(data, position)) is not None:
            position = request.end
            self._serve(request)
        self._rest = data[position:]

    def _serve(self, request: Request) -> None:
        target = request.target.decode()
        order = self._control.order() if "op=" in target else None
        before(order)
        status, content = self._application.answer(request.method.decode(), target, request.body)
        if order in NEEDS_BIG and len(content) < BIG_BYTES:
            self._control.put_back(str(order))
            order = None
        after(order)
        data = b"HTTP/1.1 %d Chaos\r\nContent-Type: application/json\r\n" % status
        if b"chunked=1" in request.target:
            data += b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
        else:
            data += b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
        if order in ON_THE_WIRE:
            self._misbehave(str(order), data)
        else:
            self._transport.write(data)

    def _misbehave(self, order: str, data: bytes) -> None:
        if order == "garbage":
            self._transport.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        elif order == "close-after":
            # An answer that does not announce it: what is pipelined behind it is dropped unread.
            self._transport.write(data)
            self._transport.close()
        elif order.startswith("half-head"):
            self._transport.write(data[:20])
            if order == "half-head-exit":
                os._exit(EXIT_STATUS)
            self._transport.close()
        else:
            self._transport.write(data[: len(data) // 2])
            if order == "half-answer-exit":
                os._exit(EXIT_STATUS)
            time.sleep(SLOW_S)
            self._transport.write(data[len(data) // 2 :])


async def serve(port: int, application: Application, control: Control) -> None:
    """Listen for ever."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: RawConnection(application, control), "127.0.0.1", port, reuse_address=True, backlog=1024
    )
    await server.serve_forever()


def run(port: int) -> None:
    """One incarnation in this process."""
    control = Control.from_environment()
    control.begin()
    asyncio.run(serve(port, Application(control.warm_up_s), control))


def run_respawned(port: int) -> None:
    """A new incarnation within a millisecond of the death of the last: fork is all that it takes."""
    parent = os.getpid()
    while True:
        pid = os.fork()
        if pid == 0:
            # A child that outlived its parent would keep the port.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == parent:
                run(port)
            os._exit(EXIT_STATUS)
        os.waitpid(pid, 0)
