"""--record unsafe: safe methods go by the log through a pool of connections, everything else as before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from scripted import OK, Connection, ScriptedTarget, path_of
from support import RunningInterceptor, Wire, wait_until

ASK = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
StartScripted = Callable[..., ScriptedTarget]
StartInterceptor = Callable[..., RunningInterceptor]


def echo_path(connection: Connection) -> None:
    while head := connection.head():
        path = path_of(head)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))


def test_reads_are_counted_and_not_recorded(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    interceptor = start_interceptor(scripted(echo_path), "--record", "unsafe")
    with Wire(interceptor) as wire:
        for _ in range(10):
            assert wire.ask(ASK % b"/read").content == b"/read"
            assert wire.ask(POST % b"/write").content == b"/write"
    assert interceptor.state()["versions"]["last"] == 10
    assert interceptor.metric('interceptor_requests_total{way="read"}') == 10
    assert interceptor.metric('interceptor_requests_total{way="recorded"}') == 10


def test_a_read_does_not_wait_for_a_slow_write(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    read = threading.Event()

    def script(connection: Connection) -> None:
        while head := connection.head():
            if head.startswith(b"POST"):
                read.wait(20.0)
            connection.send(OK)

    interceptor = start_interceptor(scripted(script), "--record", "unsafe")
    with Wire(interceptor) as writer, Wire(interceptor) as reader:
        writer.send(POST % b"/slow")
        wait_until(lambda: interceptor.state()["in_flight"] == 1, "the write to be under way")
        assert reader.ask(ASK % b"/").content == b"ok"
        read.set()
        assert writer.answer().content == b"ok"


def test_many_reads_at_once_share_a_bounded_pool(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    target = scripted(echo_path)
    interceptor = start_interceptor(target, "--record", "unsafe", "--pool-connections-max", "8")
    before = target.connections

    def client(number: int) -> None:
        with Wire(interceptor) as wire:
            wire.send(b"".join(ASK % b"/%d-%d" % (number, n) for n in range(30)))
            assert [wire.answer().content for _ in range(30)] == [b"/%d-%d" % (number, n) for n in range(30)]

    with ThreadPoolExecutor(30) as pool:
        list(pool.map(client, range(30)))
    assert target.connections - before <= 16
    assert interceptor.metric('interceptor_requests_total{way="read"}') == 900
    assert interceptor.state()["unrecorded_in_flight"] == 0


def test_a_pooled_connection_that_the_target_closed_is_not_noticed(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    """Closed while idle without a word, and even after the next request has arrived there."""

    def script(connection: Connection) -> None:
        for _ in range(2):
            head = connection.head()
            if not head or (connection.number % 2 and path_of(head) == b"/second"):
                return
            connection.send(OK)

    interceptor = start_interceptor(scripted(script), "--record", "unsafe")
    for _ in range(5):
        with Wire(interceptor) as wire:
            for path in (b"/first", b"/second", b"/third"):
                assert wire.ask(ASK % path).content == b"ok"


def test_reads_that_are_given_up_make_room_for_those_that_wait(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    go_on = threading.Event()

    def script(connection: Connection) -> None:
        while head := connection.head():
            if path_of(head) == b"/slow":
                go_on.wait(20.0)
            connection.send(OK)

    interceptor = start_interceptor(scripted(script), "--record", "unsafe", "--pool-connections-max", "2")
    slow = [Wire(interceptor) for _ in range(2)]
    queued = [Wire(interceptor) for _ in range(4)]
    last = Wire(interceptor)
    for wire in slow:
        wire.send(ASK % b"/slow")
    wait_until(lambda: interceptor.state()["unrecorded_in_flight"] == 2, "the slow ones to be under way")
    for wire in [*queued, last]:
        wire.send(ASK % b"/quick")
    wait_until(lambda: interceptor.state()["connections"] == 7, "all of them")
    for wire in [*queued, *slow]:
        wire.reset()
    go_on.set()
    assert last.answer().content == b"ok"
    last.close()
    wait_until(lambda: interceptor.state()["unrecorded_in_flight"] == 0, "the pool to be idle", 5.0)
