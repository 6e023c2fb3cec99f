"""Desynchronisation by time (PortSwigger 2022, pause-based): what is late is never somebody's request.

The first target here is one that is open to it: it answers before it has read the content, keeps the connection, and
takes the content for its next request.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scripted import Connection, ScriptedTarget, path_of
from support import Processes, RunningInterceptor, Wire, start_interceptor_process

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
HONEST = b"GET /honest HTTP/1.1\r\nHost: a\r\n\r\n"


def naive(connection: Connection) -> None:
    """Answer each head with its path, and never read content."""
    while head := connection.head():
        path = path_of(head)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))


@pytest.fixture
def proxied(hostile_processes: Processes) -> Callable[..., RunningInterceptor]:
    return lambda target, *options: start_interceptor_process(hostile_processes, target, *options)


def test_content_behind_an_early_answer_is_nobodys_request(proxied: Callable[..., RunningInterceptor]) -> None:
    """RFC 9112 §9.3: the rest of an upload that was answered early is not read as a request, by nobody's connection."""
    target = ScriptedTarget(naive)
    proxy = proxied(target, "--bypass", "*:/*")
    with Wire(proxy) as wire:
        assert wire.ask(HEAD).content == b"/early"
        wire.send(SMUGGLED)
        wire.end_sending()
        assert wire.at_end()
    for _ in range(3):
        with Wire(proxy) as wire:
            assert wire.ask(HONEST).content == b"/honest"
    target.close()


def test_nothing_of_a_recorded_request_is_delivered_before_its_end(proxied: Callable[..., RunningInterceptor]) -> None:
    """A pause within a recorded request is a pause at the listener only: another client's request goes before it."""
    heads: list[bytes] = []

    def script(connection: Connection) -> None:
        while head := connection.head():
            heads.append(path_of(head))
            if head.startswith(b"POST"):
                assert connection.body(len(SMUGGLED)) == SMUGGLED
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    target = ScriptedTarget(script)
    proxy = proxied(target)
    with Wire(proxy) as slow, Wire(proxy) as other:
        slow.send(HEAD + SMUGGLED[:5])
        assert other.ask(HONEST).content == b"ok"
        assert heads == [b"/honest"]
        assert slow.ask(SMUGGLED[5:]).content == b"ok"
    assert heads == [b"/honest", b"/early"]
    target.close()
