"""The servers that stand behind the interceptor, each with the same few pages (see `pages`).

`/echo` shows what the application saw; `/bytes/N` answers N bytes by length, `/stream/N` in pieces without one;
`/status/N` answers without content; `/fields` repeats fields in mixed case; `/ignore` answers without reading.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import PYTHON, TARGETS, Processes, Server, accepts, wait_until

from bench.processes import free_port

_BUILT: dict[Path, Path] = {}


def start_target_process(processes: Processes, kind: str, host: str = "127.0.0.1") -> Server:
    """Start a server of this kind; skip the test where its runtime is not installed."""
    server = Server(host, free_port(host))
    address = server.authority
    command = {
        "uvicorn": [PYTHON, "-m", "uvicorn", "asgi:app", "--app-dir", str(TARGETS), "--host", host,
                    "--port", str(server.port), "--log-level", "warning"],
        "aiohttp": [PYTHON, str(TARGETS / "aiohttp_app.py"), host, str(server.port)],
        "gunicorn-sync": [PYTHON, "-m", "gunicorn", "wsgi:app", "--chdir", str(TARGETS), "-b", address, "-k", "sync"],
        "gunicorn-gthread": [PYTHON, "-m", "gunicorn", "wsgi:app", "--chdir", str(TARGETS), "-b", address,
                             "-k", "gthread", "--threads", "8"],
        "hypercorn": [PYTHON, "-m", "hypercorn", f"{TARGETS / 'asgi'}:app", "--bind", address],
        "flask": [PYTHON, str(TARGETS / "flask_app.py"), host, str(server.port)],
    }.get(kind)  # fmt: skip
    if kind == "node":
        command = [runtime("node"), str(TARGETS / "node_app.js"), host, str(server.port)]
    elif kind == "go":
        command = [str(go_binary(TARGETS / "go_app.go")), address]
    assert command is not None, kind
    server.process, server.output = processes.start(command, name=kind)
    process, output = server.process, server.output

    def listens() -> bool:
        assert process.poll() is None, output.read_text()
        return accepts(host, server.port)

    wait_until(listens, f"{kind} on {address}")
    return server


def runtime(name: str) -> str:
    """Return the program of a language; skip the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: it is not compared")
    return found


def go_binary(source: Path) -> Path:
    """Build a program of one file, once; skip the test where Go is not installed."""
    if source not in _BUILT:
        go = runtime("go")
        binary = Path(os.environ.get("TMPDIR", "/tmp")) / f"interceptor-test-{source.stem}-{os.getuid()}"
        if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
            environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
            subprocess.run(
                [go, "build", "-o", str(binary), str(source)], check=True, env=environment, cwd=source.parent
            )
        _BUILT[source] = binary
    return _BUILT[source]
