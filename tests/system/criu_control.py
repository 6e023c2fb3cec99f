"""What tests of the engine `criu` do with a running interceptor: ask its admin, kill its target, read its output."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from typing import Any

from support import RunningInterceptor, Server, wait_until


class RefusedError(Exception):
    """The admin has answered with a problem."""


def ask(interceptor: RunningInterceptor, method: str, path: str) -> Any:
    """Ask the admin.  Raises RefusedError."""
    request = urllib.request.Request(f"{interceptor.admin_url}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=60.0) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise RefusedError(f"{error.code}: {json.load(error)['detail']}") from None


def post(server: Server, path: str) -> str:
    with urllib.request.urlopen(f"{server.url}{path}", data=b"", timeout=30.0) as answer:
        body: bytes = answer.read()
    return body.decode()


def metric(interceptor: RunningInterceptor, name: str) -> float:
    """Return one without labels."""
    with urllib.request.urlopen(f"{interceptor.admin_url}/metrics", timeout=20.0) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def kill_target(interceptor: RunningInterceptor, which: str = "pid") -> None:
    """Kill it, and return when another incarnation is in step."""
    target = interceptor.state()["target"]
    os.kill(target[which], signal.SIGKILL)

    def is_back() -> bool:
        state = interceptor.state()
        return state["target"]["incarnations"] > target["incarnations"] and state["state"] == "Active"

    wait_until(is_back, "the recovery")


def output_of(server: Server) -> str:
    assert server.output is not None
    return server.output.read_text()
