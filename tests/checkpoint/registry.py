"""A registry for tests: hands out OCI image layouts over plain HTTP (OCI distribution specification 1.1, pulling)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Registry:
    """`images` maps `name` to the directory of a layout, whose one image has every tag."""

    def __init__(self) -> None:
        self.images: dict[str, Path] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="registry")

    @property
    def host(self) -> str:
        return f"localhost:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _find(self, path: str) -> tuple[str, Path] | None:
        """Return content type and file; `path` is /v2/NAME/manifests/TAG-OR-DIGEST or /v2/NAME/blobs/DIGEST."""
        name, _, rest = path.removeprefix("/v2/").partition("/")
        kind, _, reference = rest.partition("/")
        if name not in self.images:
            return None
        layout = self.images[name]
        if not reference.startswith("sha256:"):
            reference = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
        file = layout / "blobs" / reference.replace(":", "/")
        if not file.is_file():
            return None
        if kind != "manifests":
            return "application/octet-stream", file
        return json.loads(file.read_bytes())["mediaType"], file

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                found = registry._find(self.path)
                if self.path == "/v2/" or found is None:
                    self.send_response(200 if self.path == "/v2/" else 404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Type", found[0])
                self.send_header("Content-Length", str(found[1].stat().st_size))
                self.send_header("Docker-Content-Digest", f"sha256:{found[1].name}")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(found[1].read_bytes())

            do_GET = do_HEAD  # noqa: N815

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing is written."""

        return Handler


@contextmanager
def running_registry() -> Iterator[Registry]:
    made = Registry()
    made.start()
    try:
        yield made
    finally:
        made.stop()
