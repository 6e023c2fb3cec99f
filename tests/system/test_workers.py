"""Prefork servers: the master keeps the listening socket when the worker that holds the state dies."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from support import PYTHON, Processes, RunningInterceptor, Server, accepts, wait_until

from bench.processes import free_port

APPLICATION = """
applied = []
def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        applied.append(environ["PATH_INFO"])
    body = " ".join(applied).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def gunicorn(directory: Path, port: int, kind: str) -> list[str]:
    (directory / "remembering.py").write_text(APPLICATION)
    return [PYTHON, "-m", "gunicorn", "remembering:app", "--chdir", str(directory), "-b", f"127.0.0.1:{port}",
            "-k", kind, "--threads", "2", "-w", "1"]  # fmt: skip


def post(interceptor: RunningInterceptor, path: str) -> str:
    with urllib.request.urlopen(f"{interceptor.url}{path}", data=b"", timeout=30.0) as answer:
        body: bytes = answer.read()
    return body.decode()


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_the_death_of_the_worker_is_the_death_of_the_state(
    processes: Processes, start_interceptor: Callable[..., RunningInterceptor], tmp_path: Path, kind: str,
    *, supervised: bool,
) -> None:  # fmt: skip
    """Rules 1 and 3: the next worker gets every event once, whether or not the lane was open when the last one died."""
    target = Server("127.0.0.1", free_port())
    command = gunicorn(tmp_path, target.port, kind)
    if not supervised:
        processes.start(command, name="gunicorn")
        wait_until(lambda: accepts(target.host, target.port), "gunicorn")
    interceptor = start_interceptor(
        target, "--log", f"file://{tmp_path}/log", *(["--", *command] if supervised else [])
    )
    post(interceptor, "/a")
    for path, applied, incarnations in (("/b", "/a /b", 2), ("/c", "/a /b /c", 3)):
        worker = interceptor.state()["target"]["serving_pid"]
        assert worker != interceptor.state()["target"]["pid"]
        os.kill(worker, signal.SIGKILL)
        wait_until(
            lambda expected=incarnations: (
                interceptor.state()["target"]["incarnations"] == expected and interceptor.is_active()
            ),
            "the recovery",
        )
        assert post(interceptor, path) == applied
    assert interceptor.state()["last_recovery"]["divergences"] == 0


def test_with_detection_by_the_listening_socket_workers_come_and_go(
    processes: Processes, start_interceptor: Callable[..., RunningInterceptor], tmp_path: Path
) -> None:
    """`--detect listener` is an operator's word that processes hold no state, such as those of a reverse proxy."""
    target = Server("127.0.0.1", free_port())
    processes.start(gunicorn(tmp_path, target.port, "sync"), name="gunicorn")
    wait_until(lambda: accepts(target.host, target.port), "gunicorn")
    interceptor = start_interceptor(target, "--log", f"file://{tmp_path}/log", "--detect", "listener")
    assert interceptor.state()["target"]["serving_pid"] is None
    assert "the target was there before us" in interceptor.state()["note"]
