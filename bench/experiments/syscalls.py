"""System calls a request: counted by the kernel (perf) where that is allowed, else by strace, which slows them.

A slice of its own, apart from every measurement of time.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.cost import create_counters
from bench.load import run_load
from bench.processes import ProcessError, process_tree
from bench.subjects import Running, start_subject

SUBJECTS = (
    "floor", "tunnel", "interceptor-memory", "interceptor-file-relaxed", "interceptor-file-strict",
    "nginx", "haproxy", "envoy", "aiohttp",
)  # fmt: skip
CALLS = (
    "read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg", "epoll_wait", "epoll_pwait",
    "epoll_ctl", "futex", "fdatasync", "pwritev", "pwrite64",
)  # fmt: skip
TOTAL = "total"
_ATTACH_S = 0.5
_STOP_TIMEOUT_S = 20.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls a request, by name; the greatest ones, and their total with all others."""

    subject: str
    counted_by: str
    requests: int
    per_request: dict[str, float]


def measure_calls(subjects: Sequence[str], seconds: int, directory: Path, progress: Progress) -> list[Calls]:
    """Count for each subject in turn. Raises ProcessError, LoadError, PipelineError or OSError."""
    found: list[Calls] = []
    for name in subjects:
        with ExitStack() as stack:
            found.append(_measure(start_subject(name, directory / name, stack), seconds, directory))
        progress(f"{name:<28} {found[-1].per_request[TOTAL]:6.2f} system calls a request ({found[-1].counted_by})")
    return found


def _measure(subject: Running, seconds: int, directory: Path) -> Calls:
    if subject.proxy is None:
        raise ProcessError("there is no proxy whose system calls could be counted")
    create_counters(subject)
    run_load(subject.port, connections=50, seconds=1, seed=1)
    pids = [str(pid) for pid in process_tree(subject.proxy.pid)]
    output = directory / f"{subject.name}.calls"
    tool, command, parse = _counter(pids, output)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as tracer:
        try:
            time.sleep(_ATTACH_S)
            load = run_load(subject.port, connections=50, seconds=seconds, seed=2)
        finally:
            tracer.send_signal(signal.SIGINT)
            _, said = tracer.communicate(timeout=_STOP_TIMEOUT_S)
    counts = parse(output.read_text())
    if not counts.get(TOTAL):
        raise ProcessError(f"{tool} has counted nothing: {said.decode(errors='replace')[-300:]}")
    greatest = sorted(counts, key=lambda name: -counts[name])[:7]
    return Calls(subject.name, tool, load.requests, {name: round(counts[name] / load.requests, 3) for name in greatest})


def _counter(pids: list[str], output: Path) -> tuple[str, list[str], Callable[[str], dict[str, int]]]:
    if shutil.which("perf") is not None and Path("/sys/kernel/tracing/events/raw_syscalls").exists():
        events = ",".join(["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in CALLS)])
        return "perf", ["perf", "stat", "-x", ";", "-o", str(output), "-e", events, "-p", ",".join(pids)], parse_perf
    attach = [option for pid in pids for option in ("-p", pid)]
    return "strace", ["strace", "-c", "-f", "-o", str(output), *attach], parse_strace


def parse_perf(text: str) -> dict[str, int]:
    """Counts by the name of the call out of `perf stat -x ;`; what was not counted is left out."""
    counts: dict[str, int] = {}
    for line in text.splitlines():
        cells = line.split(";")
        if len(cells) > 2 and cells[0].isdigit():
            event = cells[2].removeprefix("syscalls:sys_enter_")
            counts[TOTAL if event == "raw_syscalls:sys_enter" else event] = int(cells[0])
    return counts


def parse_strace(text: str) -> dict[str, int]:
    """Counts by the name of the call out of the table that `strace -c` writes."""
    counts: dict[str, int] = {}
    for line in text.splitlines():
        cells = line.split()
        if len(cells) >= 5 and cells[0].replace(".", "").isdigit() and cells[3].isdigit():
            counts[cells[-1]] = int(cells[3])
    return counts
