"""Targets to watch: real processes that listen, and a clock that runs as fast as it is asked to."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import uvloop

from bench.processes import free_port
from interceptor.target.judgement import Clock

# Says on its standard output that it listens; its memory is of no interest here.
LISTENER = """
import signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
print("listening", flush=True)
while True:
    signal.pause()
"""


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Each asynchronous test of this directory runs in both loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class TargetProcess:
    """A process that listens on a port until it is killed."""

    def __init__(self, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-SEc", LISTENER, str(port)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "listening\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def port() -> int:
    """A loopback port that was free a moment ago."""
    return free_port()


@pytest.fixture
def start_target() -> Iterator[Callable[[int], TargetProcess]]:
    """Starts a TargetProcess that listens on the given port; ended with the test."""
    started: list[TargetProcess] = []

    def start(port: int) -> TargetProcess:
        started.append(TargetProcess(port))
        return started[-1]

    yield start
    for target in started:
        if target.process.poll() is None:
            target.kill()


@pytest.fixture
def listen_command() -> Callable[[int], list[str]]:
    """The command of a process that listens on the given port, silently."""
    return lambda port: [sys.executable, "-SEc", LISTENER.replace('print("listening", flush=True)', ""), str(port)]


class FakeTime:
    """Time that passes only by sleeping; `at(t, action)` lets something happen on the way."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []
        self.actions: list[tuple[float, Callable[[], None]]] = []
        self.clock = Clock(now=lambda: self.now_s, sleep=self.sleep)

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        self.actions.append((when_s, action))

    async def sleep(self, delay_s: float) -> None:
        self.pauses.append(delay_s)
        self.now_s += delay_s
        due = [action for when_s, action in self.actions if when_s <= self.now_s]
        self.actions = [(when_s, action) for when_s, action in self.actions if when_s > self.now_s]
        for action in due:
            action()


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()
