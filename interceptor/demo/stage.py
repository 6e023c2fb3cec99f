"""The processes of the demonstration: the interceptor, and under its supervision the application."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import interceptor
from interceptor.demo.connection import HOST, Connection
from interceptor.demo.errors import DemoError, RequestFailedError

APPLICATION = "bench.counter"
# Below the usual ephemeral range: while the application is dead, no outgoing connection can take its port.
PORTS = range(18_000, 32_000)
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.02

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl


class Stage:
    """Starts everything, and leaves nothing behind."""

    def __init__(self, directory: Path, log_url: str, chance: random.Random) -> None:
        """`directory` takes what the processes print."""
        self.application_port, self.port, self.admin_port = _free_ports(3, chance)
        self.log_url = log_url
        self.output = directory / "processes.log"
        self.admin = Connection(self.admin_port)
        self._process: subprocess.Popen[bytes] | None = None
        self.started = False

    async def start(self) -> None:
        """Return once the application is served through the interceptor.  Raises DemoError."""
        if importlib.util.find_spec(APPLICATION) is None:
            raise DemoError(f"the example application {APPLICATION} is not installed; run this from the source tree")
        self._spawn()
        deadline_s = monotonic() + START_TIMEOUT_S
        while monotonic() < deadline_s:
            self.ensure_alive()
            with contextlib.suppress(RequestFailedError):
                state = await self.state()
                if state["versions"]["last"] > 0:
                    raise DemoError(
                        f"the log {self.log_url} already holds {state['versions']['last']} events; name an empty one"
                    )
                if state["state"] == "Active":
                    self.started = True
                    return
            await asyncio.sleep(POLL_S)
        raise DemoError(f"the application was not ready within {START_TIMEOUT_S:g} s: {self._last_words()}")

    async def state(self) -> dict[str, Any]:
        """Return GET /state.  Raises RequestFailedError, and DemoError where the interceptor can't go on."""
        state: dict[str, Any] = await self.admin.json("/state")
        if state["problem"]:
            raise DemoError(f"the interceptor can't bring the application back: {state['problem']}")
        return state

    async def metrics(self) -> dict[str, float]:
        """Return the metrics that have no labels."""
        answer = await self.admin.request("GET", "/metrics")
        lines = answer.body.decode().splitlines()
        pairs = (line.split(" ") for line in lines if not line.startswith("#") and "{" not in line)
        return {name: float(value) for name, value in pairs}

    async def ask_application(self, target: str) -> Any:
        """Return what the application says itself, asked behind the interceptor's back."""
        connection = Connection(self.application_port)
        try:
            return await connection.json(target)
        finally:
            connection.close()

    def ensure_alive(self) -> None:
        """Raise DemoError if the interceptor has ended."""
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            what = f"has ended by itself (exit code {code})" if self.started else "did not start"
            raise DemoError(f"the interceptor {what}: {self._last_words()}")

    async def stop(self) -> None:
        """End the interceptor in order, and with it the application."""
        self.admin.close()
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End what is left at once; the application dies with the interceptor."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _spawn(self) -> None:
        root = str(Path(interceptor.__file__).resolve().parent.parent)
        # -P and PYTHONPATH: a directory of the same name where the demonstration is started must not be taken for ours.
        python = [sys.executable, "-P", "-m"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERCEPTOR_")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
        command = [
            *python, "interceptor", "run", "--target", f"http://{HOST}:{self.application_port}",
            "--listen", f"{HOST}:{self.port}", "--admin", f"{HOST}:{self.admin_port}",
            "--log", self.log_url, "--durability", "strict", "--log-level", "warning",
            "--", *python, APPLICATION, "--port", str(self.application_port), "--journal",
        ]  # fmt: skip
        with self.output.open("wb") as output:
            # A session of its own: Ctrl-C reaches us alone, and we end it in order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip

    def _last_words(self) -> str:
        lines = self.output.read_text(encoding="utf-8", errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        return words[-1].removeprefix("interceptor: ") if words else "it said nothing"


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _free_ports(count: int, chance: random.Random) -> list[int]:
    free: list[int] = []
    for port in chance.sample(PORTS, k=len(PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise DemoError(f"no free ports between {PORTS.start} and {PORTS.stop}")
