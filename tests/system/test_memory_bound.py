"""Rule 7: what the limits add up to is a number, and hostile clients do not bring the process beyond it.

Each kind of client offers more than the process may take; how much it took at most is the kernel's own figure.
"""

from __future__ import annotations

import selectors
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from scripted import Connection, ScriptedTarget
from support import RunningInterceptor

from interceptor.limits import MIB, Limits
from interceptor.memory_bound import PROCESS_BYTES, memory_bound_bytes

RING_BYTES_MAX = 8 * MIB
LIMITS = Limits(
    connections_max=100, head_bytes_max=16_384, body_bytes_max=MIB, intake_bytes_max=8 * MIB, hold_bytes_max=8 * MIB,
    hold_requests_max=500, in_flight_bytes_max=8 * MIB, answers_memory_bytes_max=8 * MIB,
    answers_spool_bytes_max=64 * MIB, tunnels_max=20, pool_connections_max=20, lanes_max=1, replay_bytes_max=4 * MIB,
)  # fmt: skip
LONG = MIB - 1
# So long nothing moves before a client counts as stuck.
STUCK_S = 0.3

HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
WHOLE_POST = HEAD % LONG + LONG * b"x"
# What each client sends; none of them reads.
ATTACKS = {
    "heads that do not end": b"GET / HTTP/1.1\r\nX: " + 16_000 * b"x",
    "heads that are too long": b"GET / HTTP/1.1\r\nX: " + LONG * b"x",
    "contents that do not end": HEAD % MIB + LONG * b"x",
    "many small chunks": b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + 80_000 * b"1\r\nx\r\n",
    "more behind what is answered": 4 * b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" + LONG * b"x",
    "pipelines": 20_000 * b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n",
    "contents that are whole": 8 * WHOLE_POST,
    "long answers that nobody reads": b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n",
    "tunnels": b"GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + 4 * MIB * b"x",
}  # fmt: skip


def target(connection: Connection) -> None:
    """Take every request; /long is answered at length, and a tunnel sends and does not read."""
    while head := connection.head():
        if head.startswith(b"GET /tunnel"):
            connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            connection.send(4 * MIB * b"y")
            connection.socket.recv(1, socket.MSG_PEEK)
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        connection.body(int(length or b"0"))
        content = 2 * MIB * b"y" if head.startswith(b"GET /long") else b"fine"
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))


@contextmanager
def hostile_clients(at: RunningInterceptor, data: bytes) -> Iterator[None]:
    """As many as there may be, each of which has sent what it could."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(LIMITS.connections_max):
            client = stack.enter_context(socket.socket())
            # The kernel takes little on behalf of who does not read.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((at.host, at.port))
            client.setblocking(False)
            selector.register(client, selectors.EVENT_WRITE, data=memoryview(data))
        while selector.get_map() and (ready := selector.select(STUCK_S)):
            for key, _ in ready:
                _send_more(selector, key)
        yield


def _send_more(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    assert isinstance(key.fileobj, socket.socket)
    try:
        rest = key.data[key.fileobj.send(key.data[: 64 * 1024]) :]
    except BlockingIOError:
        return
    except ConnectionError:
        rest = b""
    if rest:
        selector.modify(key.fileobj, selectors.EVENT_WRITE, data=rest)
    else:
        selector.unregister(key.fileobj)


def peak_bytes(at: RunningInterceptor) -> int:
    assert at.process is not None
    status = Path(f"/proc/{at.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def options() -> list[str]:
    changed = {
        name: getattr(LIMITS, name) for name in Limits.meanings() if getattr(LIMITS, name) != getattr(Limits(), name)
    }
    changed["ring_bytes_max"] = RING_BYTES_MAX
    return [f"--{name.replace('_', '-')}={value}" for name, value in changed.items()]


@pytest.mark.parametrize("state", ["Active", "Waiting"])
def test_hostile_clients_do_not_get_past_the_sum_of_the_limits(
    state: str,
    scripted: Callable[..., ScriptedTarget],
    start_interceptor: Callable[..., RunningInterceptor],
    tmp_path: Path,
) -> None:
    at = start_interceptor(scripted(target), "--log", f"file://{tmp_path}/log", *options())
    bound = memory_bound_bytes(LIMITS, RING_BYTES_MAX)
    assert at.metric("interceptor_memory_bound_bytes") == bound
    before = peak_bytes(at)
    request = urllib.request.Request(f"{at.admin_url}/state?state={state}", method="POST")
    urllib.request.urlopen(request, timeout=20).close()
    for name, data in ATTACKS.items():
        with hostile_clients(at, data):
            now = peak_bytes(at)
        print(f"{state}, {name}: {(now - before) / MIB:.0f} MiB of {(bound - PROCESS_BYTES) / MIB:.0f}")
        assert now - before < bound - PROCESS_BYTES, name
    for name in ("intake_bytes_max", "small_chunks_max", "head_bytes_max"):
        assert at.metric(f'interceptor_limit_reached_total{{limit="{name}"}}') > 0
