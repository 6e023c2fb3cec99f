"""The floor under every proxy of this kind: the same bytes through the same event loop, without looking at them.

`python -m bench.floor --port P --target-port T --shape lane|tunnel`. `lane` does the input and output of the
interceptor: all clients share one pipelined connection to the target, one write for each turn of the loop. To know
whose answer is whose it relies on the load: a read is a whole request, an answer begins with the status line and ends
with a brace. `tunnel` gives each client a connection of its own and relies on nothing.
"""

import argparse
import asyncio
from collections import deque
from typing import cast

import uvloop

_ANSWER_START = b"HTTP/1.1 "
_ANSWER_END = b"}"
BACKLOG = 4096


class Lane(asyncio.Protocol):
    """The shared connection: requests leave together, answers return to those who wait, in order."""

    __slots__ = ("_loop", "_out", "_rest", "_transport", "waiting")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._out: list[bytes] = []
        self._rest = b""
        self.waiting: deque[asyncio.Transport] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, client: asyncio.Transport, data: bytes) -> None:
        """Queue what a client has sent for the end of this turn of the loop."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)
        self.waiting.append(client)

    def _flush(self) -> None:
        out, self._out = self._out, []
        self._transport.writelines(out)

    def data_received(self, data: bytes) -> None:
        answers = (self._rest + data).split(_ANSWER_START)
        last = answers[-1]
        self._rest = b"" if last.endswith(_ANSWER_END) else _ANSWER_START + last
        for answer in answers[1:-1] if self._rest else answers[1:]:
            client = self.waiting.popleft()
            # Gone at the end of a slice, with its last request on the way.
            if not client.is_closing():
                client.write(_ANSWER_START + answer)


class LaneClient(asyncio.Protocol):
    """A client whose every read goes to the lane."""

    __slots__ = ("_lane", "_transport")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._lane.send(self._transport, data)


class TunnelEnd(asyncio.Protocol):
    """One end of a client's own connection: what is read here is written there."""

    __slots__ = ("_early", "_transport", "other")

    def __init__(self) -> None:
        self._early: list[bytes] = []
        self._transport: asyncio.Transport
        self.other: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        elif not self.other.is_closing():
            self.other.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other is not None:
            self.other.close()

    def join(self, other: "TunnelEnd") -> None:
        """Make the two ends of one tunnel known to each other."""
        self.other, other.other = other._transport, self._transport
        self.other.writelines(self._early)


class TunnelClient(TunnelEnd):
    """The end that a client has connected to; it opens the other one."""

    __slots__ = ("_connecting", "_target_port")

    def __init__(self, target_port: int) -> None:
        super().__init__()
        self._target_port = target_port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, end = await loop.create_connection(TunnelEnd, "127.0.0.1", self._target_port)
        except OSError:
            self._transport.abort()
            return
        self.join(end)


async def serve(port: int, target_port: int, shape: str) -> None:
    """Serve until the process ends."""
    loop = asyncio.get_running_loop()
    if shape == "tunnel":
        server = await loop.create_server(lambda: TunnelClient(target_port), "127.0.0.1", port, backlog=BACKLOG)
    else:
        _, lane = await loop.create_connection(Lane, "127.0.0.1", target_port)
        server = await loop.create_server(lambda: LaneClient(lane), "127.0.0.1", port, backlog=BACKLOG)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target-port", type=int, required=True)
    parser.add_argument("--shape", choices=["lane", "tunnel"], default="lane")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.target_port, arguments.shape))
