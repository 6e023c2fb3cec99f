"""Answers framed in every way that servers have: what arrives is what a client of the server itself would read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import Queue

import pytest
from scripted import OK, Connection, ScriptedTarget, answering, path_of
from support import RunningInterceptor, Wire, wait_until

ASK = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
WAYS = ["recorded", "bypassed", "pooled"]
StartScripted = Callable[..., ScriptedTarget]
StartInterceptor = Callable[..., RunningInterceptor]
Through = Callable[[ScriptedTarget], RunningInterceptor]

ANSWERS = {
    b"/http10": b"HTTP/1.0 200 OK\r\nX: 1\r\n\r\nuntil the end",
    b"/close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    b"/neither": b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"/empty": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    b"/length-and-close": b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nuntil the end",
}


@pytest.fixture(params=WAYS)
def through(request: pytest.FixtureRequest, start_interceptor: StartInterceptor, tmp_path: Path) -> Through:
    files = ["--log", f"file:{tmp_path / 'log'}"]
    options = {
        "recorded": files,
        "bypassed": ["--bypass", "*:/*"],
        "pooled": ["--record", "unsafe"],
    }[request.param]
    return lambda target: start_interceptor(target, *options)


def test_delimited_by_the_end_of_the_connection(scripted: StartScripted, through: Through) -> None:
    target = scripted(answering(lambda head: ANSWERS[path_of(head)], closing=True))
    interceptor = through(target)
    with Wire(interceptor) as wire:
        for path in [*ANSWERS, *ANSWERS]:
            assert wire.ask(ASK % path).content == (b"" if path == b"/empty" else b"until the end")


def test_cut_off_content_is_not_taken_for_the_whole(scripted: StartScripted, through: Through) -> None:
    def script(connection: Connection) -> None:
        head = connection.head()
        if path_of(head) == b"/length":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 90_000)
        elif path_of(head) == b"/chunked":
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

    interceptor = through(scripted(script))
    for path in (b"/length", b"/chunked"):
        with Wire(interceptor) as wire:
            wire.send(ASK % path)
            received = wire.rest()
        assert not received.endswith(b"0\r\n\r\n")
        assert len(received) < 100_000


def test_interim_answers_are_passed_on(scripted: StartScripted, through: Through) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    interceptor = through(scripted(answering(lambda _head: b"HTTP/1.1 100 Continue\r\n\r\n" + early + early + OK)))
    with Wire(interceptor) as wire:
        for _ in range(2):
            wire.send(ASK % b"/")
            for _ in range(2):
                interim = wire.answer()
                assert (interim.status, interim.fields) == (103, [(b"Link", b"</a.css>")])
            assert wire.answer().content == b"ok"
    with Wire(interceptor) as wire:
        assert wire.ask(b"GET / HTTP/1.0\r\n\r\n").status == 200


def test_an_interim_answer_with_nothing_behind_it_ends_in_502(scripted: StartScripted, through: Through) -> None:
    """RFC 9110 §15.2, §15.6.3: the final answer is still to come, so it can be ours."""

    def script(connection: Connection) -> None:
        if connection.head():
            connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")

    with Wire(through(scripted(script))) as wire:
        wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        heads = [piece for piece in wire.rest().split(b"\r\n\r\n") if piece.startswith(b"HTTP/1.1 ")]
    assert [head.split(b" ", 2)[1] for head in heads] == [b"103", b"502"]


def test_trailers_arrive(scripted: StartScripted, through: Through) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;a=b\r\nabc\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n"
    )
    interceptor = through(scripted(answering(lambda _head: answer)))
    with Wire(interceptor) as wire:
        message = wire.ask(ASK % b"/")
    assert (message.content, message.trailers) == (b"abc", [(b"X-Sum", b"1"), (b"x-sum", b"2")])
    assert message.values(b"Trailer") == [b"X-Sum"]


def test_trailers_of_a_request_arrive(scripted: StartScripted, through: Through) -> None:
    def script(connection: Connection) -> None:
        while head := connection.head():
            body = b""
            while b"0\r\n" not in body or not body.endswith(b"\r\n\r\n"):
                body += connection.receive()
            assert b"\r\nTrailer: X-Sum" in head
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    interceptor = through(scripted(script))
    upload = b"POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    with Wire(interceptor) as wire:
        assert wire.ask(upload + b"0\r\nX-Sum: 1\r\n\r\n").content.endswith(b"0\r\nX-Sum: 1\r\n\r\n")


def test_pieces_arrive_as_they_come(scripted: StartScripted, through: Through) -> None:
    def script(connection: Connection) -> None:
        while connection.head():
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while piece := asked.pop():
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.send(b"0\r\n\r\n")

    asked = _Handover()
    interceptor = through(scripted(script))
    with Wire(interceptor) as wire:
        wire.send(ASK % b"/")
        assert wire.line() == b"HTTP/1.1 200 OK"
        while wire.line():
            pass
        for piece in (b"a", b"bc", b"def"):
            asked.put(piece)
            assert wire.line() == b"%x" % len(piece)
            assert wire.line() == piece
        asked.put(b"")
        assert wire.line() == b"0"


class _Handover:
    """Pieces, handed over one by one from the test to the script."""

    def __init__(self) -> None:
        self._queue: Queue[bytes] = Queue()
        self.put = self._queue.put

    def pop(self) -> bytes:
        return self._queue.get(timeout=20.0)


def test_a_server_that_closes_after_some_answers(scripted: StartScripted, through: Through) -> None:
    def script(connection: Connection) -> None:
        for left in (2, 1, 0):
            if not (head := connection.head()):
                return
            persistence = b"Connection: close\r\n" if left == 0 else b""
            path = path_of(head)
            connection.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (persistence, len(path), path))

    interceptor = through(scripted(script))
    with Wire(interceptor) as wire:
        wire.send(b"".join(ASK % b"/%d" % n for n in range(31)))
        assert [wire.answer().content for _ in range(31)] == [b"/%d" % n for n in range(31)]


def test_bodiless_answers_with_fields_that_describe_a_body(scripted: StartScripted, through: Through) -> None:
    answers = {
        b"/304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
        b"/204": b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n",
        b"/head": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
        b"/head-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"/head-close": b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n",
    }
    interceptor = through(scripted(answering(lambda head: answers[path_of(head)])))
    with Wire(interceptor) as wire:
        for path in [*answers, *answers]:
            is_head = path.startswith(b"/head")
            message = wire.ask((ASK % path).replace(b"GET", b"HEAD" if is_head else b"GET"), to_head=is_head)
            length = [b"500"] if path in (b"/304", b"/head") else []
            assert message.values(b"Content-Length") == length, path


def test_a_head_in_single_bytes(scripted: StartScripted, through: Through) -> None:
    def script(connection: Connection) -> None:
        connection.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
        while connection.head():
            for at in range(len(OK)):
                connection.send(OK[at : at + 1])

    interceptor = through(scripted(script))
    with Wire(interceptor) as wire:
        for _ in range(3):
            assert wire.ask(ASK % b"/").content == b"ok"


def test_malformed_answers_are_refused(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    answers = {
        b"/both": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"/two": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"/no-http": b"hello\r\n\r\n",
        b"/large": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"/101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    }
    target = scripted(answering(lambda head: answers[path_of(head)]))
    interceptor = start_interceptor(target, "--bypass", "*:/*")
    for path in answers:
        with Wire(interceptor) as wire:
            message = wire.ask(ASK % path)
        assert (message.status, message.values(b"Content-Type")) == (502, [b"application/problem+json"]), path


def test_an_unanswered_event_is_refused_and_not_sent_again(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    target = scripted(lambda connection: target.heads.append(connection.head()))
    interceptor = start_interceptor(target)
    before = len(target.heads)
    with Wire(interceptor) as wire:
        message = wire.ask(ASK % b"/lost")
        assert message.status == 502
    assert [path_of(head) for head in target.heads[before:] if head] == [b"/lost"]
    wait_until(lambda: interceptor.state()["uncertain"] == [1, 1], "the range to be reported")
