"""`--ready-path`, and a target that dies while it is found out whether it is ready."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from support import PYTHON, Processes, RunningInterceptor, Server, wait_until

from bench.processes import free_port

# Two connections show that it accepts and who does; the third one asks.
MORTAL = """
import os, socket, sys
port, lives, dies = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with open(lives, "a") as file:
    file.write("I")
life = os.path.getsize(lives)
listening = socket.create_server(("127.0.0.1", port))
answer = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"
accepted = 0
while True:
    connection, _ = listening.accept()
    accepted += 1
    if life <= 2 and accepted == 3 and dies == "accepted":
        os._exit(1)
    while connection.recv(65536):
        if life <= 2 and dies == "asked":
            os._exit(1)
        connection.sendall(answer)
"""


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("dies", ["accepted", "asked"])
def test_a_target_that_dies_once_it_has_accepted_is_followed_by_the_next(
    processes: Processes, start_interceptor: Callable[..., RunningInterceptor], tmp_path: Path, dies: str,
    *, supervised: bool,
) -> None:  # fmt: skip
    """Rules 1 and 3: what had accepted is dead, and is not waited for; nothing was delivered to it."""
    target = Server("127.0.0.1", free_port())
    lives = tmp_path / "lives"
    command = [PYTHON, "-c", MORTAL, str(target.port), str(lives), dies]

    options = ["--ready-path", "/ready", *(["--", *command] if supervised else [])]
    interceptor = start_interceptor(target, *options, active=False)
    if not supervised:
        for _ in range(2):
            process, _ = processes.start(command, name="target")
            process.wait(timeout=30.0)
        processes.start(command, name="target")
    wait_until(interceptor.is_active, "an incarnation that is ready")
    with urllib.request.urlopen(f"{interceptor.url}/a", data=b"", timeout=30.0) as response:
        assert response.read() == b"ok"
    assert lives.read_text() == "III"
    assert interceptor.state()["target"]["incarnations"] == 1
