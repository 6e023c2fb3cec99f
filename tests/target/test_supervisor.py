"""A supervisor and real children, under uvloop and plain asyncio."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from interceptor.target.detection import SupervisedDetector
from interceptor.target.errors import TargetStartError
from interceptor.target.judgement import Verdict, judge_loss, wait_for_target
from interceptor.target.listener_inode import ListeningSocket
from interceptor.target.process_group import live_members
from interceptor.target.restart_backoff import RestartBackoff
from interceptor.target.supervisor import Supervisor

SLEEPER = ["sleep", "600"]
GRACE_S = 5.0


class Timers:
    """Restarts that wait until the test says that the time has come."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.pending: list[Callable[[], None]] = []
        self.scheduled = asyncio.Event()

    def schedule(self, delay_s: float, action: Callable[[], None]) -> Timers:
        self.delays.append(delay_s)
        self.pending.append(action)
        self.scheduled.set()
        return self

    def cancel(self) -> None:
        self.pending.clear()

    async def fire_next(self) -> None:
        await self.scheduled.wait()
        self.scheduled.clear()
        self.pending.pop()()


class Exits:
    """The calls of on_exit, to be awaited."""

    def __init__(self) -> None:
        self.codes: asyncio.Queue[tuple[int, float]] = asyncio.Queue()

    def __call__(self, returncode: int) -> None:
        self.codes.put_nowait((returncode, time.perf_counter()))

    async def next(self) -> tuple[int, float]:
        return await self.codes.get()


@pytest.fixture
async def supervise() -> AsyncIterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(*arguments: Any, **options: Any) -> Supervisor:
        made.append(Supervisor(*arguments, **options))
        return made[-1]

    yield make
    for supervisor in made:
        await supervisor.stop(0.0)


def children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return {int(pid) for pid in file.read().split()}


async def test_starts_and_stops_without_a_trace(supervise: Callable[..., Supervisor]) -> None:
    before = children()
    exits = Exits()
    supervisor = supervise(SLEEPER, exits)
    assert not supervisor.running
    supervisor.start()
    assert supervisor.pid is not None
    assert os.getpgid(supervisor.pid) == supervisor.pid
    assert supervisor.identity is not None
    with pytest.raises(RuntimeError):
        supervisor.start()
    await supervisor.stop(GRACE_S)
    assert (await exits.next())[0] == supervisor.last_exit == -signal.SIGTERM
    assert (supervisor.running, supervisor.pid, supervisor.identity, supervisor.starts) == (False, None, None, 1)
    assert children() == before
    with pytest.raises(TargetStartError, match="stopped"):
        await supervisor.restart()


async def test_sigkill_is_noticed_and_the_child_is_back_within_milliseconds(
    supervise: Callable[..., Supervisor],
) -> None:
    before = children()
    noticed_s = []
    for _ in range(5):
        exits = Exits()
        supervisor = supervise(SLEEPER, exits)
        supervisor.start()
        pid, identity = supervisor.pid, supervisor.identity
        assert pid is not None
        killed_at = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        returncode, exited_at = await exits.next()
        noticed_s.append(exited_at - killed_at)
        assert returncode == -signal.SIGKILL
        # A group of one is gone with its leader, so the first restart has happened in the same callback.
        assert supervisor.running
        assert supervisor.pid != pid
        assert supervisor.identity != identity
        assert supervisor.starts == 2
        assert pid not in children()
        await supervisor.stop(GRACE_S)
    assert min(noticed_s) < 0.005
    assert children() == before


async def test_backs_off_and_starts_over_after_a_long_life(supervise: Callable[..., Supervisor]) -> None:
    now_s = 0.0
    timers, exits = Timers(), Exits()
    supervisor = supervise(SLEEPER, exits, restart_backoff_max_s=5.0, now=lambda: now_s, schedule=timers.schedule)
    supervisor.start()

    async def dies() -> None:
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGKILL)
        await exits.next()

    await dies()
    for _ in range(7):
        await dies()
        assert not supervisor.running
        await timers.fire_next()
        assert supervisor.running
    assert timers.delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    now_s += 10.0
    await dies()
    assert supervisor.running
    await dies()
    assert timers.delays[7:] == [0.1]
    assert supervisor.starts == 10


def test_backoff_rule() -> None:
    backoff = RestartBackoff(0.1, 0.3, 10)
    assert [backoff.delay_s(9.9) for _ in range(5)] == [0.0, 0.1, 0.2, 0.3, 0.3]
    assert [backoff.delay_s(10), backoff.delay_s(0)] == [0.0, 0.1]


async def test_restart_is_immediate_even_while_backing_off(supervise: Callable[..., Supervisor]) -> None:
    timers, exits = Timers(), Exits()
    supervisor = supervise(SLEEPER, exits, schedule=timers.schedule)
    supervisor.start()
    first = supervisor.pid
    restart = asyncio.ensure_future(supervisor.restart())
    await asyncio.sleep(0)
    assert supervisor.identity is None
    await restart
    assert supervisor.running
    assert supervisor.pid != first
    await exits.next()
    for _ in range(2):
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGKILL)
        await exits.next()
    await timers.scheduled.wait()
    assert not supervisor.running
    await supervisor.restart()
    assert supervisor.running
    assert timers.pending == []


async def test_what_the_child_left_behind_is_killed_first(supervise: Callable[..., Supervisor]) -> None:
    read, write = os.pipe()
    exits = Exits()
    # The grandchild holds the pipe open and says so: end of file means that it is gone.
    script = f"exec 3>/proc/{os.getpid()}/fd/{write}; (echo x >&3; exec sleep 600) & exec sleep 600 3>&-"
    supervisor = supervise(["sh", "-c", script], exits)
    supervisor.start()
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, os.read, read, 2) == b"x\n"
    await supervisor.stop(GRACE_S)
    os.close(write)
    assert await loop.run_in_executor(None, os.read, read, 1) == b""
    os.close(read)


async def test_a_grandchild_does_not_survive_the_death_of_the_child(supervise: Callable[..., Supervisor]) -> None:
    read, write = os.pipe()
    exits, timers = Exits(), Timers()
    script = f"exec 3>/proc/{os.getpid()}/fd/{write}; (echo x >&3; exec sleep 600) & exec sleep 600 3>&-"
    supervisor = supervise(["sh", "-c", script], exits, schedule=timers.schedule)
    supervisor.start()
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, os.read, read, 2) == b"x\n"
    group = supervisor.pid
    assert group is not None
    supervisor.send_signal(signal.SIGKILL)
    await exits.next()
    # The second life says x as well; by then nobody of the first may be left.
    assert await loop.run_in_executor(None, os.read, read, 2) == b"x\n"
    assert live_members(group) == []
    os.close(write)
    os.close(read)


async def test_stop_kills_a_child_that_ignores_sigterm(supervise: Callable[..., Supervisor]) -> None:
    read, write = os.pipe()
    command = f"trap '' TERM; echo x >/proc/{os.getpid()}/fd/{write}; while :; do sleep 600; done"
    supervisor = supervise(["sh", "-c", command])
    supervisor.start()
    await asyncio.get_running_loop().run_in_executor(None, os.read, read, 1)
    await supervisor.stop(0.01)
    assert supervisor.last_exit == -signal.SIGKILL
    os.close(read)
    os.close(write)


async def test_signals_are_forwarded_to_the_child(supervise: Callable[..., Supervisor]) -> None:
    exits = Exits()
    supervisor = supervise(SLEEPER, exits)
    assert not supervisor.send_signal(signal.SIGUSR1)
    supervisor.start()
    assert supervisor.send_signal(signal.SIGUSR1)
    assert (await exits.next())[0] == -signal.SIGUSR1


@pytest.mark.parametrize(
    ("command", "options", "what"),
    [
        (["/no/such/command"], {}, "command not found"),
        (["no-such-command-at-all"], {}, "command not found"),
        (["/etc/passwd"], {}, "not executable"),
        (SLEEPER, {"cwd": "/no/such/directory"}, "working directory /no/such/directory does not exist"),
    ],
)
async def test_first_start_that_fails_raises(
    supervise: Callable[..., Supervisor], command: list[str], options: dict[str, str], what: str
) -> None:
    supervisor = supervise(command, **options)
    with pytest.raises(TargetStartError, match=what) as caught:
        supervisor.start()
    assert caught.value.where == " ".join(command)
    assert not supervisor.running


async def test_later_start_that_fails_is_counted_and_tried_again(
    supervise: Callable[..., Supervisor], tmp_path: Any
) -> None:
    command = tmp_path / "target"
    command.write_text("#!/bin/sh\nexec sleep 600\n")
    command.chmod(0o755)
    timers, exits = Timers(), Exits()
    supervisor = supervise([str(command)], exits, schedule=timers.schedule)
    supervisor.start()
    command.chmod(0o644)
    assert supervisor.send_signal(signal.SIGKILL)
    await exits.next()
    assert supervisor.start_failures == 1
    await timers.fire_next()
    assert supervisor.start_failures == 2
    command.chmod(0o755)
    await timers.fire_next()
    assert supervisor.running
    assert timers.delays == [0.1, 0.2]


async def test_detector_follows_the_child_through_a_crash(
    supervise: Callable[..., Supervisor], port: int, listen_command: Callable[[int], list[str]]
) -> None:
    supervisor = supervise(listen_command(port))
    detector = SupervisedDetector(supervisor, ListeningSocket("127.0.0.1", port))
    supervisor.start()

    async def ready() -> bool:
        return True

    async def overdue() -> None:
        raise AssertionError("nothing took too long")

    identity = await wait_for_target(detector, ready, overdue, 60.0)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await judge_loss(detector, identity) is Verdict.SAME
    supervisor.send_signal(signal.SIGKILL)
    assert await judge_loss(detector, identity) is Verdict.DEAD
    writer.close()
    second = await wait_for_target(detector, ready, overdue, 60.0)
    assert second != identity
    await supervisor.restart()
    assert await wait_for_target(detector, ready, overdue, 60.0) not in (identity, second)
    detector.close()


def test_child_dies_with_us() -> None:
    script = """
import asyncio, signal, sys
from interceptor.target.supervisor import Supervisor
async def main():
    supervisor = Supervisor(["sleep", "600"])
    supervisor.start()
    print(supervisor.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    readable = partial(select.select, [child], [], [])
    assert readable(10.0)[0] == [child]
    os.close(child)


async def test_a_child_that_has_proved_itself_restarts_at_once(supervise: Callable[..., Supervisor]) -> None:
    timers, exits = Timers(), Exits()
    supervisor = supervise(SLEEPER, exits, now=lambda: 0.0, schedule=timers.schedule)
    supervisor.start()
    for _ in range(3):
        supervisor.child_has_proved_itself()
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGKILL)
        await exits.next()
        assert supervisor.running
    assert timers.delays == []
