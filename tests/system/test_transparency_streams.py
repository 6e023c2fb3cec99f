"""Long answers, endless ones, and clients that do not read: nobody holds up the others."""

from __future__ import annotations

import statistics
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from scripted import OK, Connection, ScriptedTarget, answering, path_of
from support import RunningInterceptor, Server, Wire, wait_until

ASK = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
StartScripted = Callable[..., ScriptedTarget]
StartInterceptor = Callable[..., RunningInterceptor]
StartTarget = Callable[..., Server]
PIECE = b"x" * 65_536
HUGE_BYTES = 200 * 1024 * 1024


def resident_bytes(server: Server) -> int:
    assert server.process is not None
    with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4_096


@pytest.mark.parametrize("kind", ["uvicorn", "gunicorn-sync"])
def test_a_slow_reader_holds_up_nobody(
    start_target: StartTarget, start_interceptor: StartInterceptor, kind: str
) -> None:
    interceptor = start_interceptor(start_target(kind))
    before_bytes = resident_bytes(interceptor)
    with Wire(interceptor, receive_buffer_bytes=8_192) as slow:
        slow.send(ASK % b"/bytes/%d" % HUGE_BYTES)
        slow.exactly(10_000)

        def client(_: int) -> list[float]:
            times = []
            with Wire(interceptor) as wire:
                for n in range(20):
                    began_s = time.perf_counter()
                    assert wire.ask(ASK % b"/echo?%d" % n).status == 200
                    times.append(time.perf_counter() - began_s)
            return times

        with ThreadPoolExecutor(20) as pool:
            # The first of each waits until the target has got rid of the large answer, at its own speed.
            times = sorted(each for times in pool.map(client, range(20)) for each in times[1:])
        assert statistics.median(times) < 0.25
        assert resident_bytes(interceptor) - before_bytes < 64 * 1024 * 1024
        left = HUGE_BYTES - 10_000
        while left > 0:
            left -= len(slow.exactly(min(left, 1 << 20)))
            if left < HUGE_BYTES // 2:
                break
    with Wire(interceptor) as wire:
        assert wire.ask(ASK % b"/bytes/10").content == bytes(range(10))


def test_a_slow_reader_alone_slows_the_target_down(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    sent = [0]

    def script(connection: Connection) -> None:
        while connection.head():
            sent[0] = 0
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(PIECE) * 1_000))
            for _ in range(1_000):
                connection.send(PIECE)
                sent[0] += 1

    target = scripted(script)
    for options in ([], ["--bypass", "GET:/*"], ["--record", "unsafe"]):
        interceptor = start_interceptor(target, *options)
        with Wire(interceptor, receive_buffer_bytes=8_192) as wire:
            wire.send(ASK % b"/")
            wire.exactly(1_000)
            assert interceptor.metric("interceptor_answer_spooled_bytes_total") == 0
            assert sent[0] < 500, options
            wire.exactly(len(PIECE) * 900)
            wait_until(lambda: sent[0] > 500, "the target to go on")
        assert interceptor.metric("interceptor_answer_spooled_bytes_total") == 0


def test_a_drain_does_not_wait_for_a_slow_reader(
    start_target: StartTarget, start_interceptor: StartInterceptor
) -> None:
    interceptor = start_interceptor(start_target("uvicorn"))
    with Wire(interceptor, receive_buffer_bytes=8_192) as slow:
        slow.send(ASK % b"/bytes/67108864")
        slow.exactly(1_000)
        request = urllib.request.Request(interceptor.admin_url + "/checkpoint", method="POST")
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            assert answer.status in (200, 201)
        slow.exactly(60_000_000)


@pytest.mark.parametrize("way", [[], ["--bypass", "GET:/events"], ["--record", "unsafe"]])
def test_events_arrive_as_they_are_sent(
    scripted: StartScripted, start_interceptor: StartInterceptor, way: list[str]
) -> None:
    heard = threading.Semaphore(0)

    def script(connection: Connection) -> None:
        if connection.head():
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for n in range(20):
                event = b"data: %d\n\n" % n
                connection.send(b"%x\r\n%b\r\n" % (len(event), event))
                assert heard.acquire(timeout=20.0)

    interceptor = start_interceptor(scripted(script), *way)
    with Wire(interceptor) as wire:
        wire.send(ASK % b"/events")
        while wire.line():
            pass
        for n in range(20):
            assert (wire.line(), wire.line()) == (b"9" if n < 10 else b"a", b"data: %d\n\n" % n)
            heard.release()


def test_an_answer_that_has_begun_may_take_long(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    """`answer_timeout_s` bounds the wait for an answer, not the answer."""
    refused = threading.Event()

    def script(connection: Connection) -> None:
        while head := connection.head():
            if path_of(head) == b"/long":
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbe\r\n")
                refused.wait(20.0)
                connection.send(b"3\r\ngun\r\n0\r\n\r\n")
            else:
                connection.send(OK)

    interceptor = start_interceptor(scripted(script), "--answer-timeout-s", "0.2")
    with Wire(interceptor) as wire, Wire(interceptor) as other:
        wire.send(ASK % b"/long")
        assert wire.line() == b"HTTP/1.1 200 OK"
        assert other.ask(ASK % b"/waits").status == 504
        refused.set()
        while wire.line():
            pass
        assert [wire.line() for _ in range(6)] == [b"2", b"be", b"3", b"gun", b"0", b""]


def test_long_polls_by_bypass(start_target: StartTarget, start_interceptor: StartInterceptor) -> None:
    target = start_target("uvicorn")
    interceptor = start_interceptor(target, "--bypass", "GET:/poll")
    polls = [Wire(interceptor) for _ in range(20)]
    for poll in polls:
        poll.send(ASK % b"/poll")
    publish = b"POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nnews"
    with Wire(interceptor) as wire:
        told = 0
        while told < 20:
            told += int(wire.ask(publish).content)
    for poll in polls:
        assert poll.answer().content == b"news"
        poll.close()
    assert interceptor.metric('interceptor_requests_total{way="bypass"}') == 20


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["close", "reset"])
def test_the_application_learns_that_a_polling_client_has_left(
    start_target: StartTarget, start_interceptor: StartInterceptor, leave: Callable[[Wire], None]
) -> None:
    target = start_target("uvicorn")
    interceptor = start_interceptor(target, "--bypass", "GET:/poll")
    polling = Wire(interceptor)
    polling.send(ASK % b"/poll")
    with Wire(target) as wire:
        wait_until(lambda: wire.ask(ASK % b"/waiting").content == b"1", "the poll")
        leave(polling)
        wait_until(lambda: wire.ask(ASK % b"/disconnects").content == b"poll", "the disconnection", 5.0)


def test_a_long_upload_by_bypass_waits_for_the_target(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    go_on = threading.Event()
    size = 100_000_000

    def script(connection: Connection) -> None:
        if b"POST" in connection.head():
            go_on.wait(20.0)
            left = size
            while left:
                left -= len(connection.receive())
            connection.send(OK)

    interceptor = start_interceptor(scripted(script), "--bypass", "POST:/*")
    before_bytes = resident_bytes(interceptor)
    with Wire(interceptor) as wire:
        wire.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        sender = threading.Thread(target=wire.send, args=(b"x" * size,))
        sender.start()
        sender.join(0.3)
        assert sender.is_alive()
        assert resident_bytes(interceptor) - before_bytes < 32 * 1024 * 1024
        go_on.set()
        assert wire.answer().content == b"ok"
        sender.join()


def test_a_client_that_never_reads_stops_being_read(
    scripted: StartScripted, start_interceptor: StartInterceptor
) -> None:
    """Pipelining without reading fills the connection, and nothing else."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    interceptor = start_interceptor(scripted(answering(lambda _head: answer)), "--client-write-timeout-s", "1")
    before_bytes = resident_bytes(interceptor)
    with Wire(interceptor, receive_buffer_bytes=8_192) as wire, Wire(interceptor) as other:
        wire.socket.settimeout(0.5)
        try:
            for _ in range(2_000):
                wire.send((ASK % b"/") * 50)
        except (TimeoutError, ConnectionError):
            pass
        assert resident_bytes(interceptor) - before_bytes < 64 * 1024 * 1024
        assert other.ask(ASK % b"/").status == 200
        wait_until(lambda: interceptor.metric("interceptor_connections") == 1, "the client to be cut", 10.0)
