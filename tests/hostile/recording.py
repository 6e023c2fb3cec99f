"""A strict target that keeps every byte it gets, and the readers that these bytes are shown to afterwards."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator

import h11
import httptools
from gunicorn.config import Config
from gunicorn.http import RequestParser as GunicornParser
from support import Server

# What a reader makes of a stream: method, target and content of each complete request.
Read = tuple[bytes, bytes, bytes]


class RecordingTarget(Server):
    """Answers each request that h11 reads with 200; what h11 refuses with 400 and the end of the connection."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        super().__init__("127.0.0.1", self._listening.getsockname()[1])
        self._lock = threading.Lock()
        self._received: dict[int, bytes] = {}
        self._misread: list[str] = []
        self._open: set[socket.socket] = set()
        self._ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self) -> tuple[list[bytes], list[str]]:
        """Return what came since the last call, by connection, and what h11 refused."""
        with self._lock:
            received, misread = [data for data in self._received.values() if data], self._misread
            self._received, self._misread = {}, []
        return received, misread

    def close(self) -> None:
        self._ended = True
        for each in [self._listening, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        number = 0
        while not self._ended:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            number += 1
            self._open.add(accepted)
            threading.Thread(target=self._serve, args=(accepted, number), daemon=True).start()

    def _serve(self, accepted: socket.socket, number: int) -> None:
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        with accepted, contextlib.suppress(OSError):
            while data := accepted.recv(65_536):
                with self._lock:
                    self._received[number] = self._received.get(number, b"") + data
                reader.receive_data(data)
                if not self._answer_all(accepted, reader):
                    break
        self._open.discard(accepted)

    def _answer_all(self, accepted: socket.socket, reader: h11.Connection) -> bool:
        try:
            for method, _, _ in _h11_requests(reader):
                if method == b"CONNECT":
                    raise h11.RemoteProtocolError("CONNECT reached the target")
                parts = [reader.send(h11.Response(status_code=200, headers=[("Content-Length", "2")]))]
                if method != b"HEAD":
                    parts.append(reader.send(h11.Data(b"ok")))
                parts.append(reader.send(h11.EndOfMessage()))
                accepted.sendall(b"".join(part for part in parts if part))
                if reader.our_state is h11.MUST_CLOSE:
                    return False
                reader.start_next_cycle()
        except h11.RemoteProtocolError as error:
            with self._lock:
                self._misread.append(str(error))
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        return True


def _h11_requests(reader: h11.Connection) -> Iterator[Read]:
    # One connection's events arrive over many calls, so what is under way is kept with the reader.
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Request):
            reader.under_way = [event.method, event.target, b""]
        elif isinstance(event, h11.Data):
            reader.under_way[2] += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            yield tuple(reader.under_way)
        else:
            return


def read_by_h11(data: bytes) -> list[Read]:
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    reader.receive_data(data)
    found = []
    for each in _h11_requests(reader):
        found.append(each)
        reader.send(h11.Response(status_code=204, headers=[]))
        reader.send(h11.EndOfMessage())
        if reader.our_state is h11.MUST_CLOSE:
            break
        reader.start_next_cycle()
    return found


def read_by_llhttp(data: bytes) -> list[Read]:
    """llhttp as Node and uvicorn use it."""
    collector = _Collector()
    collector.parser = httptools.HttpRequestParser(collector)
    with contextlib.suppress(httptools.HttpParserUpgrade):
        collector.parser.feed_data(data)
    return collector.found


class _Collector:
    parser: httptools.HttpRequestParser

    def __init__(self) -> None:
        self.found: list[Read] = []
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self._target = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.found.append((self.parser.get_method(), self._target, self._body))


def read_by_gunicorn(data: bytes) -> list[Read]:
    found = []
    configuration = Config()
    # gunicorn has its own opinions on methods, which do not concern where messages end.
    configuration.set("permit_unconventional_http_method", True)
    with contextlib.suppress(StopIteration):
        for request in GunicornParser(configuration, iter([data]), ("127.0.0.1", 1)):
            target = request.uri.encode("latin-1")
            found.append((request.method.encode("latin-1"), target, request.body.read()))
    return found


_NAIVE_LENGTH = re.compile(rb"(?im)^content[-_]length[ \t]*:[ \t]*([0-9]+)")
_NAIVE_CODING = re.compile(rb"(?im)^transfer[-_]encoding[ \t]*:.*chunked")


def _read_naively(data: bytes, steering: list[str]) -> list[Read]:
    """Read as careless servers do: lines end with LF, and what stands first in `steering` decides."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        method, target = head.split(b" ", 2)[:2]
        length, coding = _NAIVE_LENGTH.search(head), _NAIVE_CODING.search(head)
        present = [kind for kind in steering if (length if kind == "length" else coding)]
        body = b""
        if present and present[0] == "length":
            assert length is not None
            size = int(length.group(1))
            body, data = rest[:size], rest[size:]
        elif present:
            while size := int(rest.partition(b"\r\n")[0].partition(b";")[0], 16):
                rest = rest.partition(b"\r\n")[2]
                body, rest = body + rest[:size], rest[size + 2 :]
            data = rest[5:] if rest.startswith(b"0\r\n\r\n") else rest.partition(b"\r\n\r\n")[2]
        else:
            data = rest
        found.append((method, target, body))
    return found


READERS: dict[str, Callable[[bytes], list[Read]]] = {
    "h11": read_by_h11,
    "llhttp": read_by_llhttp,
    "gunicorn": read_by_gunicorn,
    "length first": lambda data: _read_naively(data, ["length", "coding"]),
    "coding first": lambda data: _read_naively(data, ["coding", "length"]),
}
