"""Children are ended whatever happens, and the kernel's figures are read as they stand."""

import os
import socket
import sys
from pathlib import Path

import pytest

from bench.processes import Child, ProcessError, cpu_s, free_port, is_listening, parse_stat, process_tree, rss_bytes

_PARENT = """
import subprocess, sys, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listen = "import socket; server = socket.create_server(('127.0.0.1', PORT)); server.accept()"
subprocess.Popen([sys.executable, "-c", listen]).wait()
"""


def test_a_name_with_spaces_and_parentheses_is_no_trouble() -> None:
    assert parse_stat("12 (a) b (c) S 7 12 12 0 -1 4194304 100 0 0 0 30 12 5 6 20 0 1 0 100 0 0") == (7, 42)


def test_figures_of_this_process() -> None:
    assert cpu_s(os.getpid()) > 0
    assert rss_bytes(os.getpid()) > 2**20
    assert process_tree(os.getpid())[0] == os.getpid()


def test_a_process_that_is_gone_has_used_nothing() -> None:
    gone = 2**22 + 1
    assert (process_tree(gone), cpu_s(gone), rss_bytes(gone)) == ([], 0, 0)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listening_socket_is_seen(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"no {address} here")
        port = server.getsockname()[1]
        assert not is_listening(port)
        server.listen()
        assert is_listening(port)
    assert not is_listening(port)


def test_a_child_that_ends_at_once_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('the reason')"]
    with (
        Child(command, tmp_path / "out") as child,
        pytest.raises(ProcessError, match=r"ended with 1: the reason"),
    ):
        child.wait_until_listening(free_port())


def test_a_command_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="can't be started"):
        Child(["/nonexistent/program"], tmp_path / "out")


def test_grandchildren_are_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.processes.STOP_TIMEOUT_S", 0.05)
    port = free_port()
    with Child([sys.executable, "-c", _PARENT.replace("PORT", str(port))], tmp_path / "out") as child:
        child.wait_until_listening(port)
        assert len(process_tree(child.pid)) == 2
    assert process_tree(child.pid) == []
    assert not is_listening(port)
