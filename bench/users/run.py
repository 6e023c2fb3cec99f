"""Run locust in a process of its own, headless or with its web page, in front of a subject that is started for it."""

import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.processes import ROOT
from bench.subjects import start_subject

SUBJECTS = ("direct", "interceptor-memory", "interceptor-file-strict", "nginx")
USERS = (50, 200)
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_GRACE_S = 30
_TOTAL = "Aggregated"

Progress = Callable[[str], None]


class UsersError(Exception):
    """locust is not installed, or ended without a result."""


@dataclass(frozen=True, slots=True)
class UsersPoint:
    """What so many of locust's users saw of one subject."""

    subject: str
    users: int
    generator: str
    requests: int
    failures: int
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


def measure_users(
    subjects: Sequence[str], users: Sequence[int], seconds: int, directory: Path, progress: Progress
) -> list[UsersPoint]:
    """The sweep at a small scale. Raises UsersError, ProcessError or OSError.

    Beside each point locust's own report with its plots stays in `directory`, as SUBJECT-USERS.html.
    """
    found: list[UsersPoint] = []
    for name in subjects:
        with ExitStack() as stack:
            subject = start_subject(name, directory / name, stack)
            for count in users:
                found.append(_measure(name, subject.port, count, seconds, directory))
                progress(describe_users(found[-1]))
    return found


def _measure(subject: str, port: int, users: int, seconds: int, directory: Path) -> UsersPoint:
    prefix = directory / f"{subject}-{users}"
    command = [*_locust(port), "--headless", "--only-summary", "--users", str(users), "--spawn-rate", str(users)]
    # Statistics begin when all users are there: how they come is no part of the question.
    command += ["--run-time", f"{seconds}s", "--reset-stats", "--stop-timeout", "5"]
    command += ["--csv", str(prefix), "--html", f"{prefix}.html", "--exit-code-on-error", "0"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + _GRACE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsersError(f"locust can't be run: {error}") from error
    if done.returncode != 0:
        raise UsersError(f"locust ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return read_result(Path(f"{prefix}_stats.csv"), subject, users)


def read_result(path: Path, subject: str, users: int) -> UsersPoint:
    """The line of all requests together in locust's table. Raises UsersError."""
    try:
        with path.open(newline="") as stream:
            row = next(row for row in csv.DictReader(stream) if row["Name"] == _TOTAL)
        return UsersPoint(
            subject=subject, users=users, generator="locust", requests=int(row["Request Count"]),
            failures=int(row["Failure Count"]), requests_per_s=float(row["Requests/s"]), p50_ms=float(row["50%"]),
            p95_ms=float(row["95%"]), p99_ms=float(row["99%"]),
        )  # fmt: skip
    except (OSError, StopIteration, KeyError, ValueError) as error:
        raise UsersError(f"{path} holds no result of locust: {error!r}") from error


def serve_web_page(subject_name: str, web_port: int, directory: Path, progress: Progress) -> None:
    """Start a subject and locust with its web page, until Ctrl-C. Raises UsersError, ProcessError or OSError."""
    with ExitStack() as stack:
        subject = start_subject(subject_name, directory / subject_name, stack)
        progress(f"{subject_name} is on port {subject.port}; locust's page: http://127.0.0.1:{web_port}")
        command = [*_locust(subject.port), "--web-host", "127.0.0.1", "--web-port", str(web_port)]
        try:
            subprocess.run(command, cwd=ROOT, check=False)
        except KeyboardInterrupt:
            progress("ended")


def describe_users(point: UsersPoint) -> str:
    """A point in one line."""
    return (
        f"{point.users:>5} users    {point.subject:<28} {point.requests_per_s:8.0f}/s  p50 {point.p50_ms:7.1f}  "
        f"p95 {point.p95_ms:7.1f}  p99 {point.p99_ms:7.1f} ms  {point.failures} failures"
    )


def _locust(port: int) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--host", f"http://127.0.0.1:{port}"]
