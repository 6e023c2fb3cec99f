"""The target's process: found, hurt and, where the interceptor does not supervise it, started again by an outsider."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from bench.chaos.target.control import ENVIRONMENT
from bench.chaos.target.kinds import TargetKind
from bench.chaos.waiting import until
from bench.processes import Child, is_listening

START_TIMEOUT_S = 20.0
ORDER_TIMEOUT_S = 10.0


class Target:
    """One target after the other on one port.  `supervised`: the interceptor starts it, by `command`."""

    def __init__(self, kind: TargetKind, port: int, directory: Path, *, supervised: bool) -> None:
        self.kind = kind
        self.port = port
        self.supervised = supervised
        self.control = directory / "control"
        self.control.mkdir()
        # How long the outside restarter leaves the port empty.
        self.restart_after_s = 0.0
        self._output = directory / "target.out"
        self._child: Child | None = None
        self._restarter: asyncio.Task[None] | None = None

    @property
    def command(self) -> list[str]:
        """Through `env`, which the process replaces: the pid is the target's."""
        return ["env", f"{ENVIRONMENT}={self.control}", "PYTHONUNBUFFERED=1", *self.kind.command(self.port)]

    async def start(self) -> None:
        """Start it, and from now on start it again whenever it dies; does nothing where it is supervised."""
        if not self.supervised:
            self._child = Child(self.command, self._output)
            self._restarter = asyncio.create_task(self._keep_alive())
            await self.until_listening()

    async def until_listening(self) -> None:
        """Return when something listens.  Raises TimeoutError."""
        await until(lambda: is_listening(self.port), START_TIMEOUT_S)

    def order(self, name: str, text: str = "") -> None:
        """Leave an order for the target (see target.control)."""
        new = self.control / f"{name}.new"
        new.write_text(text)
        new.rename(self.control / name)

    async def until_taken(self, *names: str) -> None:
        """Return when these orders have been followed.  Raises TimeoutError."""
        await until(lambda: not any((self.control / name).exists() for name in names), ORDER_TIMEOUT_S)

    @property
    def pid(self) -> int | None:
        """The process that has the memory, if it is there and ours."""
        try:
            pid = int((self.control / "pid").read_text())
            ours = str(self.control).encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if ours else None

    def signal(self, number: int) -> bool:
        """Signal the process that has the memory; return whether there was one."""
        pid = self.pid
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    async def until_another(self, pid: int | None) -> None:
        """Return when another incarnation than that has begun.  Raises TimeoutError."""
        await until(lambda: self.pid not in (None, pid), START_TIMEOUT_S)

    def kill_all(self) -> None:
        """Kill the whole process, a master with its workers; nothing to do where it is supervised."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """End it for good."""
        if self._restarter is not None:
            self._restarter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._restarter
        self.kill_all()
        self.signal(signal.SIGKILL)
        if self._child is not None:
            self._child.stop()

    async def _keep_alive(self) -> None:
        while True:
            assert self._child is not None
            await until_ended(self._child.pid)
            # The workers of a master that died would keep the port.
            self.kill_all()
            self._child.kill()
            if self.restart_after_s:
                await asyncio.sleep(self.restart_after_s)
            self._child = Child(self.command, self._output)


async def until_ended(pid: int) -> None:
    """Return when a child of ours has ended; it is not collected."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
