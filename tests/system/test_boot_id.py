"""`--detect http:PATH`, as for a target on another machine: here it is on another loopback address."""

from __future__ import annotations

import http.client
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from support import PYTHON, Processes, RunningInterceptor, Server, accepts, wait_until

from bench.processes import free_port

HOST = "127.0.0.2"
# What it was sent by POST; `?cut` has no answer, `?close` one that does not announce the end of its connection.
REMEMBERING = """
import http.server, sys, uuid
applied, boot_id = [], uuid.uuid4().hex
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        path, _, order = self.path.partition("?")
        if self.command == "POST":
            applied.append(path)
        content = (boot_id if path == "/boot-id" else " ".join(applied)).encode()
        self.close_connection = bool(order)
        if order == "cut":
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    do_GET = do_POST = answer
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


class Remote:
    """One application after the other at one address."""

    def __init__(self, processes: Processes) -> None:
        self.server = Server(HOST, free_port(HOST))
        self._processes = processes
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process, _ = self._processes.start(
            [PYTHON, "-c", REMEMBERING, HOST, str(self.server.port)], name="remote"
        )
        wait_until(lambda: accepts(HOST, self.server.port), "the application")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@pytest.fixture
def remote(processes: Processes) -> Remote:
    made = Remote(processes)
    made.start()
    return made


def post(interceptor: RunningInterceptor, path: str) -> str:
    with urllib.request.urlopen(f"{interceptor.url}{path}", data=b"", timeout=30.0) as answer:
        content: bytes = answer.read()
    return content.decode()


def options(tmp_path: Path) -> list[str]:
    return ["--log", f"file://{tmp_path}/log", "--detect", "http:/boot-id"]


def test_its_death_is_known_by_the_next_boot_id_and_every_event_is_applied_once(
    remote: Remote, start_interceptor: Callable[..., RunningInterceptor], tmp_path: Path
) -> None:
    """Rules 1 and 3, also for what is sent while nobody is there: it is held."""
    interceptor = start_interceptor(remote.server, *options(tmp_path))
    post(interceptor, "/a")
    for life, expected in ((2, "/a /2"), (3, "/a /2 /3")):
        remote.kill()
        wait_until(lambda: not interceptor.is_active(), "the loss of the lane")
        remote.start()
        assert post(interceptor, f"/{life}") == expected
        assert interceptor.state()["target"]["incarnations"] == life
        assert interceptor.state()["last_recovery"]["divergences"] == 0


def test_a_living_target_that_closes_connections_gets_nothing_twice(
    remote: Remote, start_interceptor: Callable[..., RunningInterceptor], tmp_path: Path
) -> None:
    """Rule 3: with `connection` each close would be a death, and the log be delivered into a target that has it."""
    interceptor = start_interceptor(remote.server, *options(tmp_path))
    assert [post(interceptor, f"/{number}?close")[-2:] for number in range(5)] == [f"/{number}" for number in range(5)]
    with pytest.raises(urllib.error.HTTPError, match="502") as refused:
        post(interceptor, "/unknown?cut")
    refused.value.close()
    assert post(interceptor, "/z") == "/0 /1 /2 /3 /4 /unknown /z"
    state = interceptor.state()
    assert (state["target"]["incarnations"], state["uncertain"]) == (1, [6, 6])


@pytest.mark.parametrize("replaced", [False, True])
def test_after_our_own_restart_the_boot_id_says_whether_it_holds_the_log(
    remote: Remote, start_interceptor: Callable[..., RunningInterceptor], tmp_path: Path, *, replaced: bool
) -> None:
    """Rule 8: nothing has to be guessed, and no operator be asked."""
    first = start_interceptor(remote.server, *options(tmp_path))
    post(first, "/a")
    assert first.process is not None
    first.process.kill()
    first.process.wait()
    if replaced:
        remote.kill()
        remote.start()
    second = start_interceptor(remote.server, *options(tmp_path))
    assert post(second, "/b") == "/a /b"
    assert (second.state()["last_recovery"] is not None) is replaced


def test_without_the_path_everything_waits_and_says_so(
    remote: Remote, start_interceptor: Callable[..., RunningInterceptor]
) -> None:
    """Rule 8: a wrong path is no target that may be delivered to; a controller's word does not replace the id."""
    interceptor = start_interceptor(remote.server, "--detect", "http:/boot-id?cut", active=False)
    wait_until(lambda: interceptor.state()["target"]["boot_id_problem"], "the report")
    assert interceptor.state()["state"] == "Waiting"
    assert "GET /boot-id?cut" in interceptor.state()["target"]["boot_id_problem"]
    asked = http.client.HTTPConnection(interceptor.admin.host, interceptor.admin.port)  # type: ignore[union-attr]
    asked.request("POST", "/reproject")
    assert asked.getresponse().status == 409
    asked.close()
