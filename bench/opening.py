"""Opening a long log, and reading it through: the log is written by the product's own code, with syncs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time, time_ns

from storage_backends import LogBackend, open_log
from storage_backends.errors import LogError
from storage_backends.records import Event, Outcome, Record

BATCH_EVENTS = 50
BATCHES_PER_SYNC = 20
_HEAD = (
    b"POST /cart/%d/items?size=4 HTTP/1.1\r\nHost: shop.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    b"Content-Type: application/json\r\nContent-Length: 32\r\n\r\n"
)
_BODY = b'{"item": "teapot", "count": 10 }'


class OpeningError(Exception):
    """The process that opens the log has failed; the message is what it said."""


@dataclass(frozen=True)
class Opening:
    """`open_s` and `rss_bytes` in a process of its own, as killed (room, unclean); reading per second of CPU."""

    events: int
    log_bytes: int
    write_s: float
    open_s: float
    rss_bytes: float
    rss_before_bytes: float
    read_events_per_cpu_s: float


def measure_opening(events: int, place: Path, progress: Callable[[str], None]) -> Opening:
    """Write a log of that many events at `place`, then open it in a new process and read it. Raises OpeningError."""
    url = f"file://{place}"
    progress(f"writing {events} events")
    began_s = monotonic()
    log_bytes = _in_process("write", url, str(events))["log_bytes"]
    write_s = monotonic() - began_s
    progress("opening and reading them")
    return Opening(events, int(log_bytes), write_s, **_in_process("read", url))


def _in_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.opening", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OpeningError(done.stderr.strip())
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def describe(opening: Opening) -> str:
    """Return the measurement as a person reads it."""
    mib = 1024 * 1024
    return (
        f"{opening.events} events, {opening.log_bytes / mib:.0f} MiB, written in {opening.write_s:.1f} s\n"
        f"opened in {opening.open_s:.3f} s, resident {opening.rss_bytes / mib:.0f} MiB"
        f" ({opening.rss_before_bytes / mib:.0f} before)\n"
        f"read through at {opening.read_events_per_cpu_s:,.0f} events/s of CPU"
    )


async def _write(url: str, events: int) -> dict[str, float]:
    """Write as the proxy does: outcomes behind their events, a sync beside it; end as a kill would."""
    log = open_log(url)
    await log.start()
    records: list[Record] = []
    version = 0
    while version < events:
        for _ in range(BATCHES_PER_SYNC):
            for _ in range(BATCH_EVENTS):
                version += 1
                records.append(Event(version, time_ns(), _HEAD % version, _BODY))
            log.append(records)
            records = [Outcome(version - at, 201, 120, hash(version - at) & (2**64 - 1)) for at in range(BATCH_EVENTS)]
        await _synced(log)
    return {"log_bytes": log.size_bytes}


async def _synced(log: LogBackend) -> None:
    answer: asyncio.Future[LogError | None] = asyncio.get_running_loop().create_future()
    log.sync(answer.set_result)
    if error := await answer:
        raise error


async def _open_and_read(url: str) -> dict[str, float]:
    before_bytes = _resident_bytes()
    began_s = monotonic()
    log = open_log(url)
    await log.start()
    open_s = monotonic() - began_s
    rss_bytes = _resident_bytes()
    began_s = process_time()
    reader, count = log.reader(log.first_version), 0
    while batch := await reader.next_batch(1000, 1 << 20):
        count += len(batch)
    cpu_s = process_time() - began_s
    reader.close()
    events = log.last_version
    log.close()
    return {
        "open_s": open_s,
        "rss_bytes": rss_bytes,
        "rss_before_bytes": before_bytes,
        "read_events_per_cpu_s": events / cpu_s,
    }


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    work = _write(sys.argv[2], int(sys.argv[3])) if sys.argv[1] == "write" else _open_and_read(sys.argv[2])
    print(json.dumps(asyncio.run(work)), flush=True)
    # As a kill would: the prepared room stays, nothing is marked clean.
    os._exit(0)
