"""What honest clients feel of an attack: their latency in slices without and with hostile clients, by turns.

The honest clients send at a fixed rate, so that they measure latency and not who gets the processor.  Attackers, proxy,
application and honest clients share this machine: what the attackers themselves take of it is part of the ratio.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from bench.load import COUNTERS
from bench.pipeline import send_pipelined
from bench.processes import Child, ProcessError, free_port
from bench.requests import increments
from bench.subjects import counter_command, interceptor_command

# A flood meets this limit; the honest clients are connected before.
CONNECTIONS_MAX = 512
READY_TIMEOUT_S = 20.0
_PREFILL_WINDOW = 256

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Honest clients and their requests a second, hostile connections, seconds of a slice, slices of each kind."""

    kinds: tuple[str, ...]
    clients: int
    rate: int
    hostile: int
    flood_rate: int
    seconds: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Row:
    """Latencies of the honest clients in all slices of one attack, in seconds, and how many of them got no answer."""

    kind: str
    quiet_s: list[float]
    attacked_s: list[float]
    failed: int

    @property
    def p99_ratio(self) -> float:
        return p99(self.attacked_s) / p99(self.quiet_s)


def p99(latencies_s: list[float]) -> float:
    """The 99th percentile."""
    return quantiles(latencies_s, n=100)[98]


async def measure_attacks(plan: Plan, directory: Path, progress: Progress) -> list[Row]:
    """One row for each kind of attack.  Raises ProcessError, PipelineError or OSError."""
    with ExitStack() as stack:
        target_port, port = free_port(), free_port()
        target = stack.enter_context(Child(counter_command(target_port), directory / "target.out"))
        target.wait_until_listening(target_port)
        command = interceptor_command(target_port, port, free_port(), f"file://{directory}/log", "strict")
        # A flood needs a limit that it can reach; the slow ones all find room.
        command += ["--connections-max", str(plan.clients + max(plan.hostile, CONNECTIONS_MAX))]
        proxy = stack.enter_context(Child(command, directory / "proxy.out"))
        proxy.wait_until_listening(port)
        await asyncio.to_thread(send_pipelined, port, increments(COUNTERS, COUNTERS), _PREFILL_WINDOW)
        honest = Honest(plan.clients, plan.rate)
        await honest.connect(port)
        try:
            await honest.measure(1.0)
            rows = []
            for kind in plan.kinds:
                rows.append(await _measure_kind(kind, plan, honest, port, directory))
                progress(describe(rows[-1]))
            proxy.check_alive()
            return rows
        finally:
            honest.close()


async def _measure_kind(kind: str, plan: Plan, honest: Honest, port: int, directory: Path) -> Row:
    row = Row(kind, [], [], 0)
    failed = honest.failed
    # Long answers cost the application something, before the attack; half of a flood finds no room.
    connections = {"slow-read": plan.hostile // 5, "flood": 2 * max(plan.hostile, CONNECTIONS_MAX)}.get(
        kind, plan.hostile
    )
    options = ["--connections", str(connections), "--rate", str(plan.flood_rate)]
    for number in range(plan.rounds):
        row.quiet_s.extend(await honest.measure(plan.seconds))
        output = directory / f"{kind}-{number}.out"
        with Child([sys.executable, "-m", "bench.attackers", kind, str(port), *options], output) as attackers:
            await _ready(attackers, output)
            row.attacked_s.extend(await honest.measure(plan.seconds))
            attackers.check_alive()
            await asyncio.to_thread(attackers.stop)
    return Row(kind, row.quiet_s, row.attacked_s, honest.failed - failed)


async def _ready(attackers: Child, output: Path) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while "ready" not in await asyncio.to_thread(output.read_text):
        attackers.check_alive()
        if time.monotonic() > deadline_s:
            raise ProcessError(f"{attackers} has not begun within {READY_TIMEOUT_S:g} s")
        await asyncio.sleep(0.01)
    # Their beginning is over, and so is what it has taken of this machine.
    await asyncio.sleep(0.5)


class Honest:
    """So many clients on kept connections, which send increments and reads by turns at a rate of all together."""

    def __init__(self, clients: int, rate: int) -> None:
        self._clients = clients
        self._every_s = clients / rate
        self._connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.failed = 0

    async def connect(self, port: int) -> None:
        """Raises OSError."""
        self._connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(self._clients)]

    async def measure(self, seconds: float) -> list[float]:
        """Return the latencies of `seconds`, in seconds."""
        latencies_s: list[float] = []
        await asyncio.gather(*(self._client(number, seconds, latencies_s) for number in range(self._clients)))
        return latencies_s

    def close(self) -> None:
        """Leave."""
        for _, writer in self._connections:
            writer.close()

    async def _client(self, number: int, seconds: float, latencies_s: list[float]) -> None:
        reader, writer = self._connections[number]
        now_s = time.monotonic()
        end_s, due_s = now_s + seconds, now_s + self._every_s * number / self._clients
        try:
            while due_s < end_s:
                await asyncio.sleep(due_s - time.monotonic())
                writer.write(b"POST /counters/k%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" % number)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r")[0]))
                # From when it was due: a client that had to wait for its last answer has waited for this one too.
                latencies_s.append(time.monotonic() - due_s)
                self.failed += not head.startswith(b"HTTP/1.1 200 ")
                due_s += self._every_s
        except (OSError, asyncio.IncompleteReadError):
            self.failed += 1


def describe(row: Row) -> str:
    """A row as one line."""
    quiet, attacked = row.quiet_s, row.attacked_s
    halves = "  ".join(
        f"{name} p50 {quantiles(values, n=2)[0] * 1e3:6.2f}  p99 {p99(values) * 1e3:7.2f} ms"
        for name, values in (("quiet", quiet), ("attacked", attacked))
    )
    return f"{row.kind:<10} {halves}  p99 ratio {row.p99_ratio:5.2f}  ({len(attacked)} requests, {row.failed} failed)"
