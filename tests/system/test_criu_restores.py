"""What a restore by a real CRIU meets: compressed images, a process id that is taken, a file that has changed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from counting import applied, apply, counter_command, digest_of
from criu_control import ask, kill_target, output_of, post
from support import PYTHON, RunningInterceptor, Server, accepts

from interceptor.target.subreaper import name_of, parent_of

OPERATIONS = [f"1-{number}" for number in range(1, 21)]


def stop(interceptor: RunningInterceptor) -> None:
    assert interceptor.process is not None
    interceptor.process.send_signal(signal.SIGTERM)
    assert interceptor.process.wait(30.0) == 0


def test_compressed_images_are_restored_whatever_is_said_now(
    start_criu: Callable[..., RunningInterceptor], tmp_path: Path
) -> None:
    """Rule 4: the same state; what is stored is what the catalogue says, and nothing else stays."""
    interceptor = start_criu("--checkpoint-compression", "zstd")
    apply(interceptor, OPERATIONS)
    taken = ask(interceptor, "POST", "/checkpoint")
    before = digest_of(interceptor)
    directory = tmp_path / "log" / "checkpoints"
    stored = list((directory / taken["id"]).iterdir())
    assert {path.suffix for path in stored} == {".zst"}
    assert sum(path.stat().st_size for path in stored) == taken["size_bytes"]
    assert taken["size_bytes"] < taken["detail"]["uncompressed_bytes"] / 2
    kill_target(interceptor)
    assert interceptor.state()["last_recovery"]["from"] == taken["version"] + 1
    assert digest_of(interceptor) == before
    assert sorted(path.name for path in directory.iterdir()) == ["OWNER", taken["id"]]
    stop(interceptor)

    second = start_criu("--checkpoint-on-stop")
    assert second.state()["checkpoints"]["last_restore"]["id"] == taken["id"]
    pages = next((directory / taken["id"]).glob("pages-*"))
    with pages.open("r+b") as file:
        file.seek(4096)
        file.write(b"damage")
    kill_target(second)
    assert second.state()["last_recovery"]["from"] == 1
    assert digest_of(second) == before
    assert "is not what was stored" in output_of(second)


def test_a_process_id_that_is_taken(start_criu: Callable[..., RunningInterceptor], criu_target: Server) -> None:
    """Rule 8: it is said who has it, the log is replayed instead, and the other process is left alone."""
    interceptor = start_criu("--checkpoint-on-stop")
    apply(interceptor, OPERATIONS)
    pid = interceptor.state()["target"]["pid"]
    stop(interceptor)
    subprocess.run([PYTHON, str(Path(__file__).parent / "pid_taker.py"), str(pid)], check=True, timeout=30.0)
    taker_fd = os.pidfd_open(pid)
    try:
        second = start_criu()
        assert f"it needs the process id {pid}, which {name_of(pid)} has now" in output_of(second)
        assert second.state()["last_recovery"]["from"] == 1
        assert applied(criu_target) == OPERATIONS
        signal.pidfd_send_signal(taker_fd, 0)
    finally:
        signal.pidfd_send_signal(taker_fd, signal.SIGKILL)
        os.close(taker_fd)


READS_A_FILE = """
import runpy, sys
kept_open = open(sys.argv.pop(1))
runpy.run_module("bench.counter", run_name="__main__", alter_sys=True)
"""


def test_a_file_that_has_another_size_now(
    start_criu: Callable[..., RunningInterceptor], criu_target: Server, tmp_path: Path
) -> None:
    """Rule 8: CRIU's own words, and the log is replayed instead."""
    table, program = tmp_path / "table", tmp_path / "reads_a_file.py"
    table.write_text("one")
    program.write_text(READS_A_FILE)
    command = [PYTHON, str(program), str(table), "--port", str(criu_target.port), "--journal"]
    interceptor = start_criu(command=command)
    apply(interceptor, OPERATIONS)
    ask(interceptor, "POST", "/checkpoint")
    kill_target(interceptor)
    assert interceptor.state()["last_recovery"]["from"] == len(OPERATIONS) + 1
    table.write_text("one, two")
    kill_target(interceptor)
    assert interceptor.state()["last_recovery"]["from"] == 1
    assert applied(criu_target) == OPERATIONS
    said = output_of(interceptor)
    assert "criu can't restore it" in said
    assert str(table).lstrip("/") in said


def test_a_target_that_has_left_its_group_ends_with_us(
    start_criu: Callable[..., RunningInterceptor], criu_target: Server
) -> None:
    """Behind a wrapper it is in a session of its own, and gets no signal of the wrapper's group."""
    interceptor = start_criu(command=["setsid", "--wait", *counter_command(criu_target.port)])
    apply(interceptor, OPERATIONS)
    ask(interceptor, "POST", "/checkpoint")
    kill_target(interceptor)
    assert applied(interceptor) == OPERATIONS
    stop(interceptor)
    assert not accepts(criu_target.host, criu_target.port)


STARTS_A_HELPER = """
import http.server, subprocess, sys
paths, helpers = [], []
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        paths.append(self.path)
        if self.path == "/helper":
            helpers.append(subprocess.Popen(["sleep", "600"], process_group=0))
        body = " ".join([*paths, *(str(helper.pid) for helper in helpers)]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_what_outlives_the_target_does_not_keep_its_number(
    start_criu: Callable[..., RunningInterceptor], criu_target: Server, tmp_path: Path
) -> None:
    """A helper in a group of its own is in the target's session, whose number is the target's process id."""
    program = tmp_path / "starts_a_helper.py"
    program.write_text(STARTS_A_HELPER)
    interceptor = start_criu(command=[PYTHON, str(program), str(criu_target.port)])
    assert post(interceptor, "/a") == "/a"
    taken = ask(interceptor, "POST", "/checkpoint")
    first_helper = int(post(interceptor, "/helper").split()[-1])
    kill_target(interceptor)
    assert interceptor.state()["last_recovery"]["from"] == taken["version"] + 1
    assert parent_of(first_helper) is None
    assert post(interceptor, "/b").split()[:3] == ["/a", "/helper", "/b"]
