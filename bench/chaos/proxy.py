"""The interceptor as the harness sees it: a process that is started, hurt, asked for its state, and asked to hold."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.chaos.client import Answer, read_answer
from bench.chaos.incarnations import until_ended
from bench.processes import Child, free_port

ADMIN_TIMEOUT_S = 40.0
POLL_S = 0.02
HELD = "held"
INTERCEPTOR = (sys.executable, "-m", "interceptor")


class ProxyError(Exception):
    """The interceptor did not start, ended by itself, or did not become Active; says why."""


class Proxy:
    """One interceptor after the other on the same ports and the same log."""

    def __init__(
        self, launcher: Sequence[str], options: Sequence[str], command: Sequence[str], environment: Mapping[str, str],
        directory: Path,
    ) -> None:  # fmt: skip
        self.port = free_port()
        self.admin_port = free_port()
        self.output = directory / "interceptor.out"
        supervised = ["--", *command] if command else []
        self._command = [
            "env", *(f"{name}={value}" for name, value in environment.items()), *launcher, "run",
            "--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin_port}", *options, *supervised,
        ]  # fmt: skip
        self._child: Child | None = None

    def start(self) -> None:
        """Start; returns at once."""
        self._child = Child(self._command, self.output)

    async def kill(self) -> None:
        """End it as a crash would."""
        assert self._child is not None
        self._child.kill()

    async def terminate(self) -> int:
        """SIGTERM; returns the exit status when it has ended.  Raises TimeoutError."""
        assert self._child is not None
        self._child.terminate()
        async with asyncio.timeout(ADMIN_TIMEOUT_S):
            await until_ended(self._child.pid)
        return self._child.wait(1.0)

    def stop(self) -> None:
        """End it for good."""
        if self._child is not None:
            self._child.stop()

    async def state(self) -> dict[str, Any]:
        """Return what `GET /state` says.  Raises OSError, IncompleteReadError or TimeoutError."""
        return await ask(self.admin_port, "GET", "/state")

    async def set_state(self, name: str) -> dict[str, Any]:
        """Make it Active or Waiting."""
        return await ask(self.admin_port, "POST", f"/state?state={name}")

    async def until_active(self, timeout_s: float, *, with_an_operator: bool = False) -> dict[str, Any]:
        """Return its state once it is Active.

        Raises ProxyError, also where it says that it has a problem, unless an operator is at it already.
        """
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        seen = await self.state()
                    except (OSError, asyncio.IncompleteReadError):
                        assert self._child is not None
                        self._child.check_alive()
                    else:
                        if seen["state"] == "Active":
                            return seen
                        if seen["problem"] and not with_an_operator:
                            raise ProxyError(f"it needs an operator: {seen['problem']}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise ProxyError(f"not Active within {timeout_s:g} s; its last state: {seen}") from None

    async def until_held(self, timeout_s: float) -> dict[str, Any]:
        """Return its state once everything is held.  Raises ProxyError."""
        deadline_s = time.monotonic() + timeout_s
        while (seen := await self.state())["reason"] != HELD:
            if time.monotonic() > deadline_s:
                raise ProxyError(f"not held within {timeout_s:g} s; its last state: {seen}")
            await asyncio.sleep(POLL_S)
        return seen


async def ask(port: int, method: str, target: str) -> dict[str, Any]:
    """One exchange of JSON.  Raises OSError, IncompleteReadError, TimeoutError, ValueError."""
    async with asyncio.timeout(ADMIN_TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        try:
            length = "Content-Length: 0\r\n" if method == "POST" else ""
            writer.write(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}\r\n".encode())
            answer: Answer = await read_answer(reader)
        finally:
            writer.transport.abort()
    value: dict[str, Any] = json.loads(answer.content)
    if answer.status >= 400:
        raise ValueError(f"{method} {target}: {answer.status} {value}")
    return value
