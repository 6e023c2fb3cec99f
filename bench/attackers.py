"""`python -m bench.attackers KIND PORT`: hostile clients against 127.0.0.1:PORT, until SIGTERM.

    slow-head    heads that never end, a piece a second
    slow-body    contents that never end, a piece a second
    slow-read    long answers of which a little is taken each second
    flood        connections as fast as `--rate` says, which say nothing; the oldest make room for new ones

What they send and take is just above the minimum rates, so that no rate ends them.  Who is cut comes again.  They come
from several addresses of the loopback network.  "ready" is printed once all of them have begun.
"""

import argparse
import asyncio
import itertools
import signal
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import uvloop

KINDS = ("slow-head", "slow-body", "slow-read", "flood")
ADDRESSES = 16
PIECE_BYTES = 300
TAKEN_BYTES = 4096
PACE_S = 1.0

_HEAD = b"GET /counters/x HTTP/1.1\r\nHost: x\r\n"
_STARTS = {
    "slow-head": _HEAD,
    "slow-body": b"POST /counters/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n",
    "slow-read": b"GET /?full=1 HTTP/1.1\r\nHost: x\r\n\r\n",
}
_PIECES = {
    "slow-head": (b"X: %b\r\n" % (PIECE_BYTES * b"x")),
    "slow-body": PIECE_BYTES * b"1",
    "slow-read": b"",
}
_sources = itertools.cycle(f"127.0.0.{last}" for last in range(2, 2 + ADDRESSES))


async def connect(port: int) -> socket.socket:
    """Return a connection with a small receive buffer.  Raises OSError."""
    made = socket.socket()
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TAKEN_BYTES)
        made.bind((next(_sources), 0))
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    except BaseException:
        made.close()
        raise
    return made


async def trickle(kind: str, port: int, delay_s: float, begun: asyncio.Semaphore) -> None:
    """One slow client, again and again."""
    await asyncio.sleep(delay_s)
    try:
        await _trickle_once(kind, port, begun.release)
    except OSError:
        begun.release()
    while True:
        await asyncio.sleep(PACE_S)
        with suppress(OSError):
            await _trickle_once(kind, port, lambda: None)


async def _trickle_once(kind: str, port: int, begin: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    with await connect(port) as made:
        await loop.sock_sendall(made, _STARTS[kind])
        if kind == "slow-read":
            # What the application takes for its answers is no part of the attack.
            await loop.sock_recv(made, 1)
        begin()
        going_on = True
        while going_on:
            await asyncio.sleep(PACE_S)
            going_on = _go_on(made, kind)


def _go_on(made: socket.socket, kind: str) -> bool:
    """Send or take a little more; return whether the connection is still there.  Raises OSError."""
    if _PIECES[kind]:
        made.send(_PIECES[kind])
    try:
        return made.recv(TAKEN_BYTES) != b""
    except BlockingIOError:
        return True


async def flood(port: int, connections: int, rate: int, begun: asyncio.Semaphore) -> None:
    """Open `rate` connections a second, and keep the last `connections` of them."""
    kept: deque[socket.socket] = deque()
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    begun.release()
    while True:
        due_s = max(due_s + 1 / rate, loop.time() - 0.1)
        await asyncio.sleep(due_s - loop.time())
        with suppress(OSError):
            kept.append(await connect(port))
        if len(kept) > connections:
            kept.popleft().close()


async def attack(kind: str, port: int, connections: int, rate: int) -> None:
    """Attack until a signal asks for the end."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    begun = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        if kind == "flood":
            tasks = [group.create_task(flood(port, connections, rate, begun))]
        else:
            tasks = [
                group.create_task(trickle(kind, port, PACE_S * number / connections, begun))
                for number in range(connections)
            ]
        for _ in tasks:
            await begun.acquire()
        print("ready", flush=True)
        await stopped.wait()
        for task in tasks:
            task.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.attackers", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=1_000, help="Of a flood, connections a second.")
    arguments = parser.parse_args()
    uvloop.run(attack(arguments.kind, arguments.port, arguments.connections, arguments.rate))


if __name__ == "__main__":
    main()
