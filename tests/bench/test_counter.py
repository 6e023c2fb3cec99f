"""The counter as a process: all verbs, many requests in one write, both ways to end a connection."""

import hashlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from bench.processes import Child, free_port, is_listening
from bench.subjects import counter_command

TIMEOUT_S = 10.0


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with Child([*counter_command(port), "--journal"], tmp_path / "counter.out") as counter:
        counter.wait_until_listening(port)
        yield port


@pytest.fixture
def client(port: int) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    yield connection
    connection.close()


def ask(client: HTTPConnection, method: str, target: str, body: bytes | None = None) -> tuple[int, Any]:
    client.request(method, target, body)
    answer = client.getresponse()
    raw = answer.read()
    return answer.status, json.loads(raw) if raw else None


def exchange(port: int, data: bytes) -> bytes:
    """Send the bytes and read until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(data)
        received = bytearray()
        while chunk := connection.recv(65536):
            received += chunk
        return bytes(received)


def test_every_verb(client: HTTPConnection) -> None:
    assert ask(client, "GET", "/counters/a") == (404, {"error": "no such counter"})
    assert ask(client, "POST", "/counters/a") == (200, {"name": "a", "value": 1})
    assert ask(client, "POST", "/counters/a", b"41") == (200, {"name": "a", "value": 42})
    assert ask(client, "POST", "/counters/a", b"-2") == (200, {"name": "a", "value": 40})
    assert ask(client, "POST", "/counters/a", b"any text") == (200, {"name": "a", "value": 41})
    assert ask(client, "POST", "/counters/a", b"9" * 300) == (200, {"name": "a", "value": 42})
    assert ask(client, "GET", "/counters/a?q=1") == (200, {"name": "a", "value": 42})
    assert ask(client, "HEAD", "/counters/a") == (200, None)
    assert ask(client, "DELETE", "/counters/a") == (200, {"name": "a", "value": 42})
    assert ask(client, "DELETE", "/counters/a")[0] == 404
    assert ask(client, "PUT", "/counters/a")[0] == 405
    assert ask(client, "POST", "/")[0] == 405
    assert ask(client, "GET", "/nothing")[0] == 404
    assert ask(client, "GET", "/counters/a/b")[0] == 404


def test_the_whole_state_and_its_digest(client: HTTPConnection) -> None:
    ask(client, "POST", "/counters/b", b"7")
    ask(client, "POST", "/counters/a")
    ask(client, "POST", "/counters/b")
    state = {
        "counters": 2,
        "total": 9,
        "requests": 3,
        "digest": hashlib.sha256(b"a=1\nb=8\n").hexdigest(),
    }
    assert ask(client, "GET", "/") == (200, state)
    assert ask(client, "GET", "/?full=1") == (200, state | {"values": {"a": 1, "b": 8}})


def test_the_journal_keeps_the_order(client: HTTPConnection) -> None:
    for operation in ("third", "first", "second"):
        ask(client, "POST", f"/counters/a?x=1&op={operation}")
    ask(client, "POST", "/counters/a")
    assert ask(client, "GET", "/journal") == (200, ["third", "first", "second"])


def test_without_a_journal_there_is_none(tmp_path: Path) -> None:
    port = free_port()
    with Child([*counter_command(port), "--start-delay-ms", "1"], tmp_path / "counter.out") as counter:
        counter.wait_until_listening(port)
        assert exchange(port, b"GET /journal HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 404 ")


def test_two_hundred_requests_in_one_write(port: int) -> None:
    requests = [b"POST /counters/a?op=%d HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1" % n for n in range(200)]
    requests.append(b"GET /journal HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    received = exchange(port, b"".join(requests))
    bodies = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert [json.loads(body)["value"] for body in bodies[:-1]] == list(range(1, 201))
    assert json.loads(bodies[-1]) == [str(n) for n in range(200)]


def test_requests_cut_anywhere_are_put_together(port: int) -> None:
    data = b"POST /counters/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n4\r\n1\r\n2\r\n0\r\n\r\n"
    data += b"GET /counters/a HTTP/1.1\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(len(data)):
            connection.sendall(data[index : index + 1])
        with connection.makefile("rb") as stream:
            assert stream.read().count(b'{"name":"a","value":42}') == 2


def test_nothing_behind_connection_close_is_applied(port: int, client: HTTPConnection) -> None:
    one = b"POST /counters/a HTTP/1.1\r\nHost: h\r\n"
    received = exchange(port, one + b"Connection: close\r\n\r\n" + (one + b"\r\n") * 50)
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in received
    assert ask(client, "GET", "/counters/a") == (200, {"name": "a", "value": 1})


def test_http_1_0_ends_the_connection_unless_asked(port: int) -> None:
    assert b"\r\nConnection: close\r\n" in exchange(port, b"GET / HTTP/1.0\r\n\r\n")
    kept = exchange(port, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
    assert kept.count(b"HTTP/1.1 200 OK") == 2
    assert b"\r\nConnection: keep-alive\r\n" in kept


def test_a_malformed_request_is_refused_and_ends_the_connection(port: int) -> None:
    received = exchange(port, b"GET / HTTP/1.1\r\n\r\nnonsense\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert received.count(b"HTTP/1.1 400 Bad Request") == 1


def test_a_client_that_half_closes_gets_its_answer(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(b"POST /counters/a HTTP/1.1\r\nHost: h\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            assert stream.read().endswith(b'{"name":"a","value":1}')


def test_the_same_port_can_be_taken_again_after_a_kill(tmp_path: Path) -> None:
    port = free_port()
    with Child(counter_command(port), tmp_path / "first.out") as first:
        first.wait_until_listening(port)
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S):
            first.kill()
            assert not is_listening(port)
            with Child(counter_command(port), tmp_path / "second.out") as second:
                second.wait_until_listening(port)


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    port = free_port()
    with Child(counter_command(port), tmp_path / "counter.out") as counter:
        counter.wait_until_listening(port)
        os.kill(counter.pid, signal.SIGTERM)
        assert counter.wait(TIMEOUT_S) == 0
    assert (tmp_path / "counter.out").read_text() == f"counter listening on http://127.0.0.1:{port}\n"
