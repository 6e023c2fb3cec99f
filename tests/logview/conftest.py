"""A log with a bit of everything, and the command line on it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from interceptor.cli.main import cli
from storage_backends.file import FileLog
from storage_backends.options import LogOptions
from storage_backends.records import Event, Mark, Outcome, Quarantine, Record

BEGIN_NS = 1_760_000_000_000_000_000
SECOND_NS = 1_000_000_000


def request(version: int, line: str, *fields: str, body: bytes = b"") -> Event:
    head = "".join(f"{text}\r\n" for text in (f"{line} HTTP/1.1", "Host: shop.example", *fields, ""))
    return Event(version, BEGIN_NS + version * SECOND_NS, head.encode("latin-1"), body)


PACKED = gzip.compress(b'{"size": "XL"}', mtime=0)
EVENTS = [
    request(1, "GET /cart/1?secret=no", "Authorization: Bearer s3cret", "cookie: id=s3cret"),
    request(2, "POST /cart/1/items", "Content-Type: text/plain; charset=latin-1", "Content-Length: 5",
            body=b"caf\xe9\n"),
    request(
        3, "PUT /cart/2", "Transfer-Encoding: chunked", "Content-Encoding: gzip",
        body=b"%x\r\n%b\r\n0\r\nX-Token: s3cret\r\n\r\n" % (len(PACKED), PACKED),
    ),
    request(4, "POST /upload/\x1b[31m", "Content-Type: image/png", "Content-Length: 8", body=b"\x89PNG\r\n\x1a\n"),
    request(5, "DELETE /cart/1"),
    request(6, "GET /health"),
]  # fmt: skip
RECORDS: list[list[Record]] = [
    [Mark("incarnation", 0, BEGIN_NS, {"identity": "socket:1"}), *EVENTS[:3]],
    [Outcome(2, 201, 7, 0xABC), Outcome(1, 200, 2, 0xDEF)],
    [EVENTS[3], Outcome(3, 500, 21, 3)],
    [EVENTS[4], EVENTS[5], Quarantine(4, BEGIN_NS, "it died each time"), Outcome(6, 200, 2, 1)],
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Six events in several segments: one quarantined, one without an answer."""
    place = tmp_path / "log"
    log = FileLog("file:", place, LogOptions(segment_bytes_max=400))
    for batch in RECORDS:
        log.append(batch)
    log.store_facts({"quarantined": [4], "incarnation": "socket:1"})
    log.close()
    return place


@pytest.fixture
def log(place: Path) -> Callable[..., Result]:
    """`log("show", "--last", "3")` on that log, or on the one named by --log."""

    def run(*arguments: str, code: int = 0, standard_input: str | None = None) -> Result:
        options = [] if "--log" in arguments else ["--log", f"file:{place}"]
        result = CliRunner().invoke(cli, ["log", *arguments, *options], catch_exceptions=False, input=standard_input)
        assert result.exit_code == code, result.output
        return result

    return run
