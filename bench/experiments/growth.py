"""How cost and memory grow: with the size of bodies beside nginx, and with the length of the log."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.cost import create_counters
from bench.load import run_load
from bench.pipeline import send_pipelined
from bench.processes import ProcessError, cpu_s, rss_bytes
from bench.requests import increments
from bench.subjects import Running, start_subject

BODY_BYTES = (0, 1024, 16_384, 131_072, 1_048_576)
BODY_SUBJECTS = ("nginx", "envoy", "interceptor-memory", "interceptor-file-relaxed", "interceptor-file-strict")
LOG_SUBJECTS = ("interceptor-memory", "interceptor-file-relaxed", "interceptor-file-strict")
LOG_STEP_EVENTS = 100_000
_CONNECTIONS = 50
_COUNTERS = 1000
_WINDOW = 512

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BodyCost:
    """CPU microseconds of the proxy for a POST with a body of so many bytes: the median of the rounds."""

    subject: str
    body_bytes: int
    cpu_us: float
    requests_per_s: float
    errors: int


@dataclass(frozen=True, slots=True)
class LogCost:
    """With so many events in the log: what each of the last step's cost, and the memory after it."""

    subject: str
    events: int
    cpu_us: float
    rss_mib: float


def measure_bodies(
    subjects: Sequence[str], sizes: Sequence[int], rounds: int, directory: Path, progress: Progress
) -> list[BodyCost]:
    """Load by POSTs of one size after the other, the subjects taking turns. Raises ProcessError, LoadError, OSError."""
    with ExitStack() as stack:
        running = [start_subject(name, directory / name, stack) for name in subjects]
        for subject in running:
            create_counters(subject)
        found: list[BodyCost] = []
        for size in sizes:
            taken = [[_post(subject, size, number) for subject in running] for number in range(rounds)]
            for column, subject in enumerate(running):
                rows = [row[column] for row in taken]
                cpu, rate = median(row[0] for row in rows), median(row[1] for row in rows)
                found.append(BodyCost(subject.name, size, round(cpu, 1), round(rate), sum(row[2] for row in rows)))
                progress(f"{size:>8} bytes  {subject.name:<28} {cpu:8.1f} µs  {rate:8.0f}/s")
        return found


def _post(subject: Running, size: int, number: int) -> tuple[float, float, int]:
    if subject.proxy is None:
        raise ProcessError("there is no proxy whose cost could be measured")
    before = cpu_s(subject.proxy.pid)
    load = run_load(subject.port, connections=_CONNECTIONS, seconds=1, seed=number + 1, body_bytes=size)
    return (cpu_s(subject.proxy.pid) - before) * 1e6 / load.requests, load.requests_per_s, load.errors_total


def measure_log_length(subjects: Sequence[str], steps: int, directory: Path, progress: Progress) -> list[LogCost]:
    """Send steps of LOG_STEP_EVENTS, pipelined. Raises ProcessError, PipelineError or OSError."""
    requests = increments(LOG_STEP_EVENTS, _COUNTERS)
    found: list[LogCost] = []
    for name in subjects:
        with ExitStack() as stack:
            subject = start_subject(name, directory / name, stack)
            if subject.proxy is None:
                raise ProcessError("there is no log where there is no proxy")
            for step in range(1, steps + 1):
                before = cpu_s(subject.proxy.pid)
                send_pipelined(subject.port, requests, _WINDOW)
                cpu_us = (cpu_s(subject.proxy.pid) - before) * 1e6 / len(requests)
                rss_mib = rss_bytes(subject.proxy.pid) / 2**20
                found.append(LogCost(name, step * len(requests), round(cpu_us, 2), round(rss_mib, 1)))
            progress(f"{name:<28} {found[-1].events} events: {cpu_us:5.1f} µs an event, {rss_mib:6.1f} MiB")
    return found
