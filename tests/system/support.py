"""Real processes for the system tests, and a plain HTTP client that shows every byte of an answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
TARGETS = Path(__file__).parent / "targets"
# How often a test kills; more by hand.
KILLS = int(os.environ.get("INTERCEPTOR_TEST_KILLS", "5"))
PYTHON = sys.executable
START_TIMEOUT_S = 30.0
SOCKET_TIMEOUT_S = 20.0
POLL_S = 0.01


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return as soon as the condition holds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s for: {what}"
        time.sleep(POLL_S)


def accepts(host: str, port: int) -> bool:
    """Return whether something listens there."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


class Processes:
    """The processes that a test has started; each is ended by its own pid, in the reverse order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, command: Sequence[str], *, name: str = "process", environment: Mapping[str, str] | None = None
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Start; return the process and the file that it writes its output to."""
        output = self._directory / f"{name}-{len(self._running)}.log"
        with output.open("wb") as file:
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT,
                env=dict(environment) if environment is not None else None,
            )  # fmt: skip
        self._running.append(process)
        return process, output

    def end_all(self) -> None:
        """End what still runs."""
        for process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in reversed(self._running):
            try:
                process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


@dataclass
class Server:
    """Something that listens."""

    host: str
    port: int
    process: subprocess.Popen[bytes] | None = None
    output: Path | None = None

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"


@dataclass
class RunningInterceptor(Server):
    """An interceptor in front of a target."""

    admin: Server | None = None

    @property
    def admin_url(self) -> str:
        return self.admin.url if self.admin is not None else self.url

    def state(self) -> dict[str, Any]:
        """Return what `GET /state` says."""
        with urllib.request.urlopen(f"{self.admin_url}/state", timeout=SOCKET_TIMEOUT_S) as answer:
            described: dict[str, Any] = json.load(answer)
            return described

    def metric(self, sample: str) -> float:
        """Return one sample of `GET /metrics` by its name with labels as they are written there."""
        with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=SOCKET_TIMEOUT_S) as answer:
            for line in answer.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name == sample:
                    return float(value)
        raise AssertionError(f"no sample {sample}")

    def is_active(self) -> bool:
        try:
            return self.state()["state"] == "Active"
        except OSError:
            return False


def start_interceptor_process(
    processes: Processes, target: Server | str, *options: str, listen_host: str = "127.0.0.1", active: bool = True
) -> RunningInterceptor:
    """Start an interceptor in front of a target with a memory log, unless the options say otherwise.

    Returns once it is Active, unless `active` is false: then as soon as its admin answers.
    """
    url = target if isinstance(target, str) else target.url
    admin = None if "--admin" in options else Server("127.0.0.1", free_port())
    served = RunningInterceptor(listen_host, free_port(listen_host), admin=admin)
    defaults = ["--admin", admin.authority] if admin else []
    if "--log" not in options:
        defaults += ["--log", "memory://"]
    command = [PYTHON, "-m", "interceptor", "run", "--target", url, "--listen", served.authority, *defaults, *options]
    served.process, served.output = processes.start(command, name="interceptor")
    process, output = served.process, served.output

    def ready() -> bool:
        assert process.poll() is None, output.read_text()
        if active:
            return served.is_active()
        return accepts(served.host, served.port)

    wait_until(ready, f"the interceptor on {served.authority}")
    return served


@dataclass
class Message:
    """An answer as its bytes say it: chunked content is decoded, everything else is as it came."""

    status_line: bytes
    fields: list[tuple[bytes, bytes]]
    content: bytes
    trailers: list[tuple[bytes, bytes]]

    @property
    def status(self) -> int:
        return int(self.status_line.split(b" ", 2)[1])

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


class Wire:
    """One connection, byte by byte."""

    def __init__(self, server: Server, *, receive_buffer_bytes: int | None = None) -> None:
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(SOCKET_TIMEOUT_S)
        try:
            self.socket.connect((server.host, server.port))
        except OSError:
            self.socket.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def end_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Vanish without a word: the other side gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def ask(self, data: bytes, *, to_head: bool = False) -> Message:
        self.send(data)
        return self.answer(to_head=to_head)

    def answer(self, *, to_head: bool = False) -> Message:
        """Read one answer, interim ones included."""
        lines = self._until(b"\r\n\r\n").split(b"\r\n")
        fields = _fields(lines[1:])
        message = Message(lines[0], fields, b"", [])
        if to_head or message.status < 200 or message.status in (204, 304):
            return message
        if any(value.lower() == b"chunked" for value in message.values(b"Transfer-Encoding")):
            message.content, message.trailers = self._chunked()
        elif lengths := message.values(b"Content-Length"):
            message.content = self.exactly(int(lengths[0]))
        else:
            message.content = self.rest()
        return message

    def exactly(self, size: int) -> bytes:
        parts, left = [self._buffer[:size]], size - len(self._buffer[:size])
        self._buffer = self._buffer[size:]
        while left:
            data = self.socket.recv(min(left, 1 << 20))
            assert data, f"the connection ended {left} bytes before the content did"
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    def rest(self) -> bytes:
        """Read to the end of the connection."""
        parts, self._buffer = [self._buffer], b""
        while data := self.socket.recv(1 << 20):
            parts.append(data)
        return b"".join(parts)

    def at_end(self) -> bool:
        """Wait for the end of the connection; return whether nothing came before it."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True

    def line(self) -> bytes:
        return self._until(b"\r\n")

    def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            data = self.socket.recv(1 << 16)
            assert data, f"the connection ended after {self._buffer!r}"
            self._buffer += data
        found, self._buffer = self._buffer[:end], self._buffer[end + len(mark) :]
        return found

    def _chunked(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        parts = []
        while size := int(self.line().split(b";")[0], 16):
            parts.append(self.exactly(size))
            assert self.exactly(2) == b"\r\n"
        trailers = []
        while line := self.line():
            trailers.append(line)
        return b"".join(parts), _fields(trailers)


def _fields(lines: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
