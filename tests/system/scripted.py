"""A target that says exactly what a test tells it to, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from support import SOCKET_TIMEOUT_S, Server


class Connection:
    """What a script sees of one connection: the requests that come, and the bytes that it sends."""

    def __init__(self, accepted: socket.socket, number: int) -> None:
        self.socket = accepted
        self.number = number
        self._buffer = b""

    def head(self) -> bytes:
        """Return the next request's head; b"" at the end of the connection."""
        while b"\r\n\r\n" not in self._buffer:
            data = self.socket.recv(65_536)
            if not data:
                return b""
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head

    def body(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.socket.recv(65_536)
            if not data:
                break
            self._buffer += data
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return body

    def receive(self) -> bytes:
        """Return what comes next, b"" at the end."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        return self.socket.recv(65_536)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)


Script = Callable[[Connection], None]


class ScriptedTarget(Server):
    """Runs the script for each connection, in a thread of its own; the connection ends with the script."""

    def __init__(self, script: Script, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        super().__init__(host, self._listening.getsockname()[1])
        self.heads: list[bytes] = []
        self.connections = 0
        self._script = script
        self._open: set[socket.socket] = set()
        self._ended = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._ended = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SOCKET_TIMEOUT_S)

    def _accept(self) -> None:
        while not self._ended:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(accepted,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, accepted: socket.socket) -> None:
        self._open.add(accepted)
        with contextlib.suppress(OSError):
            # A connection that asks for nothing, to see whether the target is ready, is not the script's.
            if accepted.recv(1, socket.MSG_PEEK):
                self.connections += 1
                self._script(Connection(accepted, self.connections))
        self._open.discard(accepted)
        accepted.close()


def answering(reply: Callable[[bytes], bytes], *, closing: bool = False) -> Script:
    """Return a script that answers each request, which has no body, by its head."""

    def script(connection: Connection) -> None:
        while head := connection.head():
            connection.send(reply(head))
            if closing:
                return

    return script


def path_of(head: bytes) -> bytes:
    return head.split(b" ", 2)[1]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
