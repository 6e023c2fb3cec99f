"""A thread for each connection, as http.server does it."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.chaos.target.application import Application
from bench.chaos.target.control import Control, after, before


class Handler(BaseHTTPRequestHandler):
    """One request after the other."""

    protocol_version = "HTTP/1.1"
    application: Application
    control: Control

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def _answer(self) -> None:
        body = self._body()
        order = self.control.order() if "op=" in self.path else None
        before(order)
        status, content = self.application.answer(self.command, self.path, body)
        after(order)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)


class Server(ThreadingHTTPServer):
    """Reaches its port again while connections of the last incarnation are still being forgotten."""

    allow_reuse_address = True
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that an interceptor's death cuts is no defect; a traceback of anything else is to be seen."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def run(port: int) -> None:
    """One incarnation in this process."""
    Handler.control = Control.from_environment()
    Handler.control.begin()
    Handler.application = Application(Handler.control.warm_up_s)
    Server(("127.0.0.1", port), Handler).serve_forever()
