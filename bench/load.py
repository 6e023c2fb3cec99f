"""Load by wrk: one thread, a fixed number of connections, the varied requests of load.lua."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

COUNTERS = 4096
RESULT_PREFIX = "WRK "

_SCRIPT = Path(__file__).with_name("load.lua")
_GRACE_S = 15


class LoadError(Exception):
    """wrk could not be run, or said something that is no result."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What wrk saw in one slice. An answer with a status from 400 on is an error."""

    requests: int
    duration_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]

    @property
    def errors_total(self) -> int:
        return sum(self.errors.values())

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.duration_s


def run_load(
    port: int, *, connections: int, seconds: int, seed: int, timeout_s: int = 5, body_bytes: int | None = None
) -> LoadResult:
    """Load 127.0.0.1:port for whole `seconds`; with `body_bytes` by POSTs of that size alone. Raises LoadError.

    An answer that takes longer than `timeout_s` is an error.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{timeout_s}s", "-s", str(_SCRIPT)]
    command += [f"http://127.0.0.1:{port}/", "--", str(seed), str(COUNTERS)]
    command += [] if body_bytes is None else [str(body_bytes)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + timeout_s + _GRACE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadError(f"wrk can't be run: {error}") from error
    if done.returncode != 0:
        raise LoadError(f"wrk ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return parse_load(done.stdout)


def parse_load(output: str) -> LoadResult:
    """The result in wrk's output. Raises LoadError where there is none, or an empty one."""
    lines = [line for line in output.splitlines() if line.startswith(RESULT_PREFIX)]
    if len(lines) != 1:
        raise LoadError(f"wrk printed {len(lines)} results, not one: {output[-500:]}")
    try:
        raw = json.loads(lines[0].removeprefix(RESULT_PREFIX))
        result = LoadResult(
            requests=int(raw["requests"]),
            duration_s=raw["duration_us"] / 1e6,
            p50_ms=raw["p50_us"] / 1e3,
            p95_ms=raw["p95_us"] / 1e3,
            p99_ms=raw["p99_us"] / 1e3,
            max_ms=raw["max_us"] / 1e3,
            errors={str(kind): int(count) for kind, count in raw["errors"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"wrk's result can't be read ({error!r}): {lines[0]}") from error
    if result.requests == 0 or result.duration_s <= 0:
        raise LoadError(f"wrk got no answer at all: {lines[0]}")
    return result
