"""What a client reads through the interceptor is what it reads from the server itself, byte by byte.

Each case goes to the server directly and through an interceptor, once by the ordered lane and once by --bypass.  Not
compared: Date, and what belongs to one connection only (Connection, Keep-Alive, Transfer-Encoding).
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from support import Message, Processes, Server, Wire, start_interceptor_process
from targets import start_target_process

SERVERS = ["uvicorn", "hypercorn", "aiohttp", "gunicorn-sync", "gunicorn-gthread", "flask", "node", "go"]
NOT_COMPARED = {b"date", b"connection", b"keep-alive", b"transfer-encoding"}
BINARY = bytes(range(256)) * 5
LARGE = BINARY * 6_554  # 8 MiB


def request(method: bytes, target: bytes, body: bytes | None = None, *fields: bytes) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: example.test", *fields]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunked(target: bytes, *pieces: bytes, trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return request(b"POST", target, None, b"Transfer-Encoding: chunked") + body + b"0\r\n" + trailers + b"\r\n"


CASES = {
    "get": request(b"GET", b"/echo"),
    "head": request(b"HEAD", b"/echo"),
    "head of a stream": request(b"HEAD", b"/stream/1000"),
    "delete": request(b"DELETE", b"/echo/1"),
    "options": request(b"OPTIONS", b"/echo"),
    "patch": request(b"PATCH", b"/echo", b"{}"),
    "post": request(b"POST", b"/echo", b"a=1&b=2", b"Content-Type: application/x-www-form-urlencoded"),
    "put binary": request(b"PUT", b"/echo", BINARY),
    "post empty": request(b"POST", b"/echo", b""),
    "get with body": request(b"GET", b"/echo", b"body"),
    "query": request(b"GET", b"/echo?b=2&a=1&a=&&x=%2F%3f+%20&=&;y"),
    "escaped path": request(b"GET", b"/echo/%7Ea//b/./%2e/c%20d"),
    "duplicate fields": request(b"GET", b"/echo", None, b"X-a: 1", b"Accept: a/b", b"x-A: 2", b"X-Empty:", b"X-a: 3"),
    "odd values": request(b"GET", b"/echo", None, b"X-Latin: caf\xe9", b"X-Long: " + b"v" * 4_000, b"Cookie: a=b; c"),
    "chunked upload": chunked(b"/echo", b"one", BINARY),
    "chunked upload, empty": chunked(b"/echo"),
    "large upload": request(b"POST", b"/echo", LARGE),
    "fields": request(b"GET", b"/fields"),
    "204": request(b"GET", b"/status/204"),
    "304": request(b"GET", b"/status/304", None, b'If-None-Match: "abc"'),
    "404": request(b"GET", b"/status/404"),
    "gzip": request(b"GET", b"/gzip", None, b"Accept-Encoding: gzip"),
    "bytes": request(b"GET", b"/bytes/65536"),
    "just beyond one piece": request(b"GET", b"/bytes/65537"),
    "chunked answer": request(b"GET", b"/stream/300000"),
    "empty chunked answer": request(b"GET", b"/stream/0"),
    "large answer": request(b"GET", b"/bytes/67108864"),
    "large chunked answer": request(b"GET", b"/stream/16777216"),
}


@dataclass
class Side:
    """A server, and two interceptors in front of it."""

    direct: Server
    recorded: Server
    bypassed: Server


@pytest.fixture(scope="module", params=SERVERS)
def side(request: pytest.FixtureRequest, session_processes: Processes) -> Side:
    direct = start_target_process(session_processes, request.param)
    return Side(
        direct,
        start_interceptor_process(session_processes, direct),
        start_interceptor_process(session_processes, direct, "--bypass", "*:/*"),
    )


def seen(server: Server, data: bytes) -> Message:
    with Wire(server) as wire:
        message = wire.ask(data, to_head=data.startswith(b"HEAD"))
    message.fields = [(name, value) for name, value in message.fields if name.lower() not in NOT_COMPARED]
    return message


@pytest.mark.parametrize("case", CASES)
def test_same_answer(side: Side, case: str) -> None:
    data = CASES[case]
    direct = seen(side.direct, data)
    for through in (side.recorded, side.bypassed):
        assert seen(through, data) == direct


def test_same_answers_on_one_connection(side: Side) -> None:
    names = [name for name in CASES if not name.startswith("large")]
    with Wire(side.recorded) as wire, Wire(side.bypassed) as other:
        for name in names:
            data = CASES[name]
            direct = seen(side.direct, data)
            for each in (wire, other):
                message = each.ask(data, to_head=data.startswith(b"HEAD"))
                message.fields = [item for item in message.fields if item[0].lower() not in NOT_COMPARED]
                assert message == direct, name


def test_pipelined_requests_are_answered_in_order(side: Side) -> None:
    requests = b"".join(request(b"POST", b"/echo?n=%d" % n, b"%d" % n) for n in range(50))
    for through in (side.recorded, side.bypassed):
        with Wire(through) as wire:
            wire.send(requests)
            for n in range(50):
                assert b'/echo?n=%d"' % n in wire.answer().content


def test_http_1_0(side: Side) -> None:
    for through in (side.recorded, side.bypassed):
        for path, size in ((b"/bytes/10", 10), (b"/stream/100000", 100_000)):
            with Wire(through) as wire:
                answer = wire.ask(b"GET %b HTTP/1.0\r\n\r\n" % path)
                assert (answer.status, len(answer.content)) == (200, size)
                assert answer.values(b"Transfer-Encoding") == []
                assert wire.at_end()


def test_http_1_0_keep_alive(side: Side) -> None:
    with Wire(side.recorded) as wire:
        for _ in range(3):
            answer = wire.ask(b"GET /bytes/10 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            assert answer.values(b"Connection") == [b"keep-alive"]
            assert len(answer.content) == 10


def test_connection_close(side: Side) -> None:
    for through in (side.recorded, side.bypassed):
        for path in (b"/bytes/10", b"/stream/100000"):
            with Wire(through) as wire:
                answer = wire.ask(request(b"GET", path, None, b"Connection: close"))
                assert answer.values(b"Connection") == [b"close"]
                assert wire.at_end()
