"""The kinds of targets: how each is started, and what it can be asked to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class TargetKind:
    """`prefork`: a master keeps the socket and the worker has the memory.  `on_the_wire`: it can misbehave there."""

    name: str
    command: Callable[[int], list[str]]
    on_the_wire: bool = False
    prefork: bool = False
    note: str = ""


def _own(kind: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", "bench.chaos.target", kind, str(port)]


def _uvicorn(port: int) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", "--factory", "bench.chaos.target.asgi:make_app", "--port", str(port)]
    return [*command, "--log-level", "warning", "--timeout-keep-alive", "2"]


def _gunicorn(port: int) -> list[str]:
    command = [sys.executable, "-m", "gunicorn", "bench.chaos.target.wsgi:make_app()", "--bind", f"127.0.0.1:{port}"]
    options = [
        "--workers",
        "1",
        "--worker-class",
        "gthread",
        "--threads",
        "4",
        "--keep-alive",
        "120",
        "--timeout",
        "120",
    ]
    return [*command, *options, "--worker-tmp-dir", "/dev/shm", "--log-level", "warning"]


KINDS = {
    kind.name: kind
    for kind in (
        TargetKind("raw", _own("raw"), on_the_wire=True),
        TargetKind("respawned", _own("respawned"), on_the_wire=True),
        TargetKind("threaded", _own("threaded")),
        TargetKind("uvicorn", _uvicorn),
        TargetKind(
            "gunicorn", _gunicorn, prefork=True,
            note="--detect connection, not supervised, one worker, no keep-alive timeout: what is exact by design",
        ),
    )
}  # fmt: skip
