"""One GiB down and one GiB up: every byte arrives, and no more of it is in memory than the limits say (rule 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xxhash
from scripted import Connection, ScriptedTarget
from support import RunningInterceptor, Wire

SIZE = 1 << 30
PIECE = bytes(range(256)) * 4_096  # 1 MiB
GROWTH_KIB_MAX = 64 * 1024
StartScripted = Callable[..., ScriptedTarget]
StartInterceptor = Callable[..., RunningInterceptor]


def expected() -> str:
    digest = xxhash.xxh3_64()
    for _ in range(SIZE // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest()


def script(connection: Connection) -> None:
    while head := connection.head():
        if head.startswith(b"GET"):
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
            for _ in range(SIZE // len(PIECE)):
                connection.send(PIECE)
        else:
            digest, left = xxhash.xxh3_64(), SIZE
            while left:
                data = connection.receive()
                digest.update(data)
                left -= len(data)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + digest.hexdigest().encode())


def resident_kib(interceptor: RunningInterceptor) -> int:
    assert interceptor.process is not None
    lines = Path(f"/proc/{interceptor.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@pytest.fixture
def interceptor(
    request: pytest.FixtureRequest, scripted: StartScripted, start_interceptor: StartInterceptor
) -> Iterator[RunningInterceptor]:
    """An interceptor with the options of the test, whose peak of memory is looked at in the end."""
    started = start_interceptor(scripted(script), *request.param)
    before_kib = resident_kib(started)
    yield started
    assert resident_kib(started) - before_kib < GROWTH_KIB_MAX


@pytest.mark.parametrize("interceptor", [[], ["--bypass", "*:/*"]], indirect=True, ids=["recorded", "bypassed"])
def test_down(interceptor: RunningInterceptor) -> None:
    digest = xxhash.xxh3_64()
    with Wire(interceptor) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while line := wire.line():
            assert not line.startswith(b"HTTP") or line == b"HTTP/1.1 200 OK"
        for _ in range(SIZE // len(PIECE)):
            digest.update(wire.exactly(len(PIECE)))
    assert digest.hexdigest() == expected()


@pytest.mark.parametrize("interceptor", [["--bypass", "*:/*"]], indirect=True, ids=["bypassed"])
def test_up(interceptor: RunningInterceptor) -> None:
    """By --bypass: a recorded upload is read whole, and bounded by body_bytes_max."""
    with Wire(interceptor) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(PIECE)):
            wire.send(PIECE)
        assert wire.answer().content.decode() == expected()
