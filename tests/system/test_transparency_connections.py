"""Client connections: how they are kept, ended, refused, and what becomes of clients that leave."""

from __future__ import annotations

import json
import random
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted import OK, Connection, ScriptedTarget, answering, path_of
from support import Message, RunningInterceptor, Server, Wire, wait_until

from bench.processes import free_port

ASK = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
StartScripted = Callable[..., ScriptedTarget]
StartInterceptor = Callable[..., RunningInterceptor]
StartTarget = Callable[..., Server]


def is_problem(message: Message, status: int) -> bool:
    assert message.values(b"Content-Type") == [b"application/problem+json"]
    problem = json.loads(message.content)
    return message.status == problem["status"] == status and bool(problem["detail"])


@pytest.mark.parametrize("way", [[], ["--bypass", "*:/*"], ["--record", "unsafe"]])
def test_a_client_that_ends_its_sending_side_gets_its_answer(
    scripted: StartScripted, start_interceptor: StartInterceptor, way: list[str]
) -> None:
    """As with `nc -N`; the server here, like Go's and Node's, answers such a client."""
    go_on = threading.Event()

    def script(connection: Connection) -> None:
        while connection.head():
            go_on.wait(20.0)
            connection.send(OK)

    interceptor = start_interceptor(scripted(script), *way)
    closing = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for data in (ASK % b"/a", b"GET /a HTTP/1.0\r\n\r\n", closing):
        go_on.clear()
        with Wire(interceptor) as wire:
            wire.send(data)
            wire.end_sending()
            wait_until(lambda: interceptor.metric("interceptor_connections") >= 1, "the connection")
            go_on.set()
            assert wire.answer().content == b"ok"
            assert wire.at_end()


def test_a_bypassed_request_that_ends_within_its_content_is_its_clients_mistake(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    """RFC 9112 §8: the application that gives it up is not at fault."""

    def script(connection: Connection) -> None:
        connection.head()
        while connection.receive():
            pass

    with Wire(start_interceptor(scripted(script), "--bypass", "*:/*")) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        wire.end_sending()
        assert wire.rest().startswith(b"HTTP/1.1 400 ")


def test_pipelined_answers_arrive_after_the_sending_side_has_ended(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    interceptor = start_interceptor(scripted(answering(lambda _head: OK)), "--bypass", "GET:/past")
    with Wire(interceptor) as wire:
        wire.send((ASK % b"/a") * 40 + (ASK % b"/past") + (ASK % b"/a") * 40 + b"GET /half HT")
        wire.end_sending()
        assert [wire.answer().content for _ in range(81)] == [b"ok"] * 81
        assert wire.at_end()


def test_expect_100_continue(start_target: StartTarget, start_interceptor: StartInterceptor) -> None:
    target = start_target("uvicorn")
    interceptor = start_interceptor(target, "--bypass", "*:/past", "--body-bytes-max", "1000")
    head = b"POST %b HTTP/%b\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    for path in (b"/echo", b"/past"):
        with Wire(interceptor) as wire:
            for _ in range(2):
                assert wire.ask(head % (path, b"1.1", 4)).status == 100
                assert wire.ask(b"body").status == 200
            wire.send(ASK % b"/echo" + head % (path, b"1.1", 4))
            assert wire.answer().status == 200
            assert wire.answer().status == 100
            assert wire.ask(b"body").status == 200
    with Wire(interceptor) as wire:
        assert wire.ask(head % (b"/echo", b"1.0", 4) + b"body").status == 200
    with Wire(interceptor) as wire:
        assert is_problem(wire.ask(head % (b"/echo", b"1.1", 1_001)), 413)
        assert wire.at_end()


def test_an_application_that_refuses_before_the_content_saves_the_upload(
    start_target: StartTarget, start_interceptor: StartInterceptor
) -> None:
    """The expectation goes to the application on a bypassed route: no 100 where it would have sent none."""
    interceptor = start_interceptor(start_target("uvicorn"), "--bypass", "*:/ignore")
    head = b"POST /ignore HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4000000\r\n\r\n"
    with Wire(interceptor) as wire:
        assert wire.ask(head).status == 403


def test_refusals_are_problems(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    interceptor = start_interceptor(scripted(answering(lambda _head: OK)), "--body-bytes-max", "1000")
    chunks = b"400\r\n" + b"x" * 1_024 + b"\r\n"
    requests = {
        400: b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        413: b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
        414: b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        417: b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n",
        431: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        501: b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        505: b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    }
    for status, data in requests.items():
        with Wire(interceptor) as wire:
            assert wire.ask(ASK % b"/first").content == b"ok"
            assert is_problem(wire.ask(ASK % b"/second" + data) and wire.answer(), status)
            assert wire.at_end()


def test_a_request_that_takes_too_long_is_told_so(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    """RFC 9110 §15.5.9, for a head and for a content; what was answered before stays answered."""
    target = scripted(answering(lambda _head: OK))
    interceptor = start_interceptor(target, "--head-timeout-s", "0.1", "--body-timeout-s", "0.1")
    unfinished = [b"GET /late HT", b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"]
    with Wire(interceptor) as head, Wire(interceptor) as body:
        for wire, part in zip((head, body), unfinished, strict=True):
            assert wire.ask(ASK % b"/first").content == b"ok"
            wire.send(part)
        for wire in (head, body):
            assert is_problem(wire.answer(), 408)
            assert wire.at_end()


def test_a_refused_upload_can_be_read_by_its_sender(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    interceptor = start_interceptor(scripted(answering(lambda _head: OK)))
    with Wire(interceptor) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        wire.send(b"x" * 8_000_000)
        assert is_problem(wire.answer(), 413)


@pytest.mark.parametrize("how", ["reads on", "resets"])
def test_an_early_answer_to_a_large_upload_by_bypass(
    scripted: StartScripted, start_interceptor: StartInterceptor, how: str
) -> None:
    """RFC 9112 §9.5, §9.6: it arrives, also from a server that closes on the unread rest and so resets."""
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"

    def script(connection: Connection) -> None:
        if b"POST" in connection.head():
            connection.send(refusal)
            while how == "reads on" and connection.receive():
                pass

    interceptor = start_interceptor(scripted(script), "--bypass", "POST:/*")
    # The reset meets our write or our read; which of them is up to chance.
    for _ in range(20):
        with Wire(interceptor) as wire:
            wire.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            wire.send(b"x" * 4_000_000)
            answer = wire.answer()
            assert (answer.status, answer.content) == (403, b"no")
            assert answer.values(b"Connection") == [b"close"]


def test_an_upload_whose_refused_content_is_not_taken_for_a_request(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    """A held bypassed upload that is answered 503 must not leave its content behind on the connection."""
    target = scripted(answering(lambda _head: OK))
    interceptor = start_interceptor(target, "--bypass", "POST:/up", "--hold-time-max-s", "0.2")
    _post(interceptor.admin_url + "/state?state=Waiting")
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with Wire(interceptor) as wire:
        wire.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
        assert is_problem(wire.answer(), 503)
        assert wire.at_end()


def test_ipv6_on_both_sides(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    heads: list[bytes] = []
    target = scripted(answering(lambda head: heads.append(head) or OK), "::1")
    interceptor = start_interceptor(target, listen_host="::1")
    with Wire(interceptor) as wire:
        assert wire.ask(ASK % b"/six").content == b"ok"
    assert b"X-Forwarded-For: ::1" in heads[-1]


def test_forwarding_fields(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    heads: list[bytes] = []
    interceptor = start_interceptor(scripted(answering(lambda head: heads.append(head) or OK)))
    with Wire(interceptor) as wire:
        wire.ask(
            b"GET / HTTP/1.1\r\nHost: shop.test:80\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n"
        )
        lines = heads[-1].split(b"\r\n")
        assert b"Host: shop.test:80" in lines
        assert b"X-Forwarded-For: 9.9.9.9, 127.0.0.1" in lines
        assert b"X-Forwarded-Proto: https" in lines
        assert b"X-Forwarded-Host: shop.test:80" in lines
        assert b"Via: 1.1 interceptor" in lines


STAGES = {
    "at once": b"",
    "in the head": b"POST /a HTTP/1.1\r\nHo",
    "in the content": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc",
    "in a chunk": b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "before the answer": ASK % b"/silent",
    "in the answer": ASK % b"/large",
    "many answers": (ASK % b"/large") * 20,
    "after the answer": ASK % b"/a",
}


@pytest.mark.parametrize("way", [[], ["--bypass", "*:/*"], ["--record", "unsafe"]])
def test_clients_that_vanish_leave_nothing_behind(
    scripted: StartScripted, start_interceptor: StartInterceptor, way: list[str]
) -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    go_on = threading.Event()

    def script(connection: Connection) -> None:
        while head := connection.head():
            if path_of(head) == b"/silent":
                go_on.wait(20.0)
            connection.send(large if path_of(head) == b"/large" else OK)

    interceptor = start_interceptor(scripted(script), *way, "--pool-connections-max", "4")
    for stage, data in STAGES.items():
        for leave in (Wire.reset, Wire.close):
            wire = Wire(interceptor)
            wire.send(data)
            if stage == "in the answer":
                wire.exactly(1_000)
            elif stage == "after the answer":
                wire.answer()
            leave(wire)
        if stage == "before the answer":
            go_on.set()
    with Wire(interceptor) as wire:
        for _ in range(6):
            assert wire.ask(ASK % b"/alive").content == b"ok"

    def quiet() -> bool:
        state = interceptor.state()
        return state["connections"] == state["in_flight"] == state["unrecorded_in_flight"] == 0

    wait_until(quiet, f"everything to be let go, but {interceptor.state()}", 10.0)


def test_admin_on_the_same_port(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    target = scripted(answering(lambda _head: OK))
    interceptor = start_interceptor(target, "--admin", "same")
    ask = b"%b %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    with Wire(interceptor) as wire:
        assert json.loads(wire.ask(ask % (b"GET", b"/state")).content)["state"] == "Active"
        assert wire.ask(ASK % b"/other").content == b"ok"
        assert b"interceptor_" in wire.ask(ask % (b"GET", b"/metrics")).content
        assert wire.ask(ask % (b"HEAD", b"/healthz"), to_head=True).status == 200
        wire.send(ask % (b"POST", b"/state?state=Waiting"))
        assert wire.answer().status == 200
        assert wire.ask(ask % (b"POST", b"/state?state=Active")).status == 200
        assert wire.ask(ASK % b"/other").content == b"ok"


def test_a_target_that_is_away_is_waited_for(start_interceptor: StartInterceptor, scripted: StartScripted) -> None:
    interceptor = start_interceptor(f"http://127.0.0.1:{free_port()}", "--hold-time-max-s", "0.1", active=False)
    with Wire(interceptor) as wire:
        answer = wire.ask(ASK % b"/")
        assert is_problem(answer, 503)
        assert answer.values(b"Retry-After") == [b"1"]


def _post(url: str) -> None:
    urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=20.0).close()


@pytest.mark.parametrize("seed", range(4))
def test_requests_of_every_route_in_one_write(
    scripted: StartScripted, start_interceptor: StartInterceptor, tmp_path: Path, seed: int
) -> None:
    """Recorded, pooled, bypassed, with and without content, to HEAD: every answer in its place."""

    def script(connection: Connection) -> None:
        while head := connection.head():
            body = b""
            if b"\r\nTransfer-Encoding: chunked" in head:
                while not body.endswith(b"0\r\n\r\n"):
                    body += connection.body(1)
            elif b"\r\nContent-Length: 3" in head:
                body = connection.body(3)
            path = path_of(head)
            size = int(path.rpartition(b"/")[2])
            content = path + b"|" + b"x" * size
            head_only = head.startswith(b"HEAD")
            if size % 2 or head_only:
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
                connection.send(b"" if head_only else content)
            else:
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))

    chosen = random.Random(seed)
    options = ["--bypass", "*:/past/*"] + (["--record", "unsafe"] if seed % 2 else [])
    if seed >= 2:
        options += ["--log", f"file:{tmp_path / 'log'}"]
    interceptor = start_interceptor(scripted(script), *options)
    requests = b""
    expected = []
    for _ in range(120):
        method = chosen.choice([b"GET", b"GET", b"POST", b"PUT", b"HEAD"])
        path = b"/%b/%d" % (chosen.choice([b"now", b"past"]), chosen.choice([0, 1, 100, 101, 70_000, 150_001]))
        framing, body = b"", b""
        if method in (b"POST", b"PUT"):
            if chosen.random() < 0.5:
                framing, body = b"Content-Length: 3\r\n", b"abc"
            else:
                framing, body = b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"
        requests += b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (method, path, framing, body)
        expected.append((method, path))
    with Wire(interceptor) as wire:
        sizes = [len(requests)] if seed < 3 else [chosen.randrange(1, 200) for _ in range(500)]
        at = 0
        for size in sizes:
            wire.send(requests[at : at + size])
            at += size
        wire.send(requests[at:])
        if seed % 3 == 0:
            wire.end_sending()
        for method, path in expected:
            answer = wire.answer(to_head=method == b"HEAD")
            assert answer.status == 200
            if method != b"HEAD":
                assert answer.content.partition(b"|")[0] == path
        if seed % 3 == 0:
            assert wire.at_end()


def test_an_orderly_stop_lets_everybody_finish(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    def script(connection: Connection) -> None:
        while head := connection.head():
            if b"Upgrade" in head:
                connection.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                while data := connection.receive():
                    connection.send(data)
                return
            connection.body(3)
            connection.send(OK)

    interceptor = start_interceptor(scripted(script), "--bypass", "POST:/past")
    upload = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na"
    with Wire(interceptor) as idle, Wire(interceptor) as half, Wire(interceptor) as past, Wire(interceptor) as tunnel:
        half.send(upload % b"/recorded")
        past.send(upload % b"/past")
        tunnel.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        wait_until(lambda: interceptor.metric('interceptor_requests_total{way="bypass"}') == 1, "the upload")
        wait_until(lambda: interceptor.state()["connections"] == 4, "all four")
        assert interceptor.process is not None
        interceptor.process.terminate()
        assert idle.at_end()
        for wire in (half, past):
            answer = wire.ask(b"bc")
            assert (answer.status, answer.values(b"Connection")) == (200, [b"close"])
            assert wire.at_end()
        tunnel.send(b"still there")
        assert tunnel.exactly(11) == b"still there"
        tunnel.end_sending()
        assert tunnel.at_end()
        assert interceptor.process.wait(10.0) == 0
