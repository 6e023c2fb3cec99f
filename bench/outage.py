"""How long a client waits when the target dies: from SIGKILL to the first answer to a request that was held.

The target is there again after `start_s`: its parent forks, and the child sleeps for so long before it listens.  The
log is nearly empty, so what is measured beside the start is the detection, the meeting and the way of one request.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from bench.chaos.client import read_answer
from bench.chaos.incarnations import Target
from bench.chaos.proxy import INTERCEPTOR, Proxy
from bench.chaos.target.kinds import KINDS
from bench.processes import free_port

START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Outages:
    """Seconds from SIGKILL to the answer, one for each kill, with a target that starts in `start_s`."""

    start_s: float
    seconds: list[float]

    def describe(self) -> str:
        """Median and 95th percentile, and what is beyond the target's own start."""
        middle, late = median(self.seconds), quantiles(self.seconds, n=20)[-1]
        return (
            f"SIGKILL to answer  {middle * 1e3:6.1f} ms median  {late * 1e3:6.1f} ms p95  ({len(self.seconds)} kills)\n"
            f"beyond the target's own start of {self.start_s * 1e3:.0f} ms  {(middle - self.start_s) * 1e3:6.1f} ms"
        )


async def measure_outages(kills: int, start_s: float, directory: Path) -> Outages:
    """Kill again and again, each time with one request on its way.  Raises ProcessError, ProxyError, OSError."""
    target = Target(KINDS["respawned"], free_port(), directory, supervised=False)
    options = ("--target", f"http://127.0.0.1:{target.port}", "--log", f"file://{directory}/log")
    proxy = Proxy(INTERCEPTOR, options, (), {}, directory)
    try:
        await target.start()
        proxy.start()
        await proxy.until_active(START_TIMEOUT_S)
        return Outages(start_s, [await _outage(number, target, proxy, start_s) for number in range(kills)])
    finally:
        proxy.stop()
        await target.stop()


async def _outage(number: int, target: Target, proxy: Proxy, start_s: float) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        await _ask(f"{number}.before", reader, writer)
        target.order("start-delay", str(start_s))
        began = time.perf_counter()
        target.signal(signal.SIGKILL)
        await _ask(f"{number}.after", reader, writer)
        return time.perf_counter() - began
    finally:
        writer.close()


async def _ask(operation: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(f"POST /counters/c?op={operation} HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n".encode())
    answer = await read_answer(reader)
    if answer.status != 200:
        raise OSError(f"{operation} was answered {answer.status}")
