"""Rule 1: a Node application, whose server works on pipelined requests side by side, is replayed one at a time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from support import TARGETS, RunningInterceptor, wait_until

from bench.processes import free_port

ITEMS = 40


def items(base: str, method: str = "GET") -> list[int]:
    with urllib.request.urlopen(urllib.request.Request(f"{base}/cart", method=method), timeout=30) as answer:
        found: list[int] = json.load(answer)
        return found


@pytest.mark.parametrize("pipelining", ["auto", "off"])
def test_a_handler_that_waits_between_reading_and_writing_is_given_back_exactly(
    start_interceptor: Callable[..., RunningInterceptor], tmp_path: Path, pipelining: str
) -> None:
    """Each item was added once the one before it was answered; a replay that overlaps them loses most of them."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    target = f"http://127.0.0.1:{free_port()}"
    command = [node, str(TARGETS / "node_session.js"), target.rpartition(":")[2]]
    options = ["--log", f"file://{tmp_path}/log", "--pipelining", pipelining, "--", *command]
    interceptor = start_interceptor(target, *options)
    for number in range(1, ITEMS + 1):
        assert items(interceptor.url, "POST") == list(range(1, number + 1))
    for _ in range(2):
        lived = interceptor.state()["target"]["incarnations"]
        os.kill(interceptor.state()["target"]["pid"], signal.SIGKILL)
        wait_until(lambda before=lived: interceptor.state()["target"]["incarnations"] > before, "another incarnation")
        wait_until(interceptor.is_active, "in step")
        assert items(target) == list(range(1, ITEMS + 1))
        assert interceptor.state()["last_recovery"]["divergences"] == 0
    assert interceptor.state()["target"]["serial"]
