"""A boot id that the application reports: only an answer that was asked for afterwards is a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from interceptor.address import Address
from interceptor.counters import Counters
from interceptor.limits import Limits
from interceptor.target.boot_id import BootIdDetector
from interceptor.target.judgement import Verdict, judge_loss

Answer = Callable[[], Awaitable[bytes]]
LIMITS = Limits(boot_id_timeout_s=5.0, boot_id_poll_s=0.01)


def ok(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


class Application:
    """Answers what it is told to, by `answer`."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.held: list[asyncio.Event] = []
        self.asked = asyncio.Semaphore(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /boot HTTP/1.1\r\nHost: 127.0.0.1:")
        answer = self.answer
        self.asked.release()
        if self.held:
            await self.held.pop(0).wait()
        writer.write(answer)
        writer.close()


@asynccontextmanager
async def asking(answer: bytes, limits: Limits = LIMITS) -> AsyncIterator[tuple[Application, BootIdDetector, Counters]]:
    application, counters = Application(answer), Counters()
    server = await asyncio.start_server(application.serve, "127.0.0.1", 0)
    target = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    detector = BootIdDetector(target, "/boot", limits, counters)
    try:
        yield application, detector, counters
    finally:
        await detector.stop()
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"a1"),
        ok(b"a1\r\n"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na1\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\na1",
    ],
)
async def test_the_same_id_is_the_same_incarnation_also_after_our_own_restart(answer: bytes) -> None:
    async with asking(answer) as (_, detector, _counters):
        assert detector.look() is None
        assert await detector.ask()
        port = str(detector.look()).split(":")[2]
        assert detector.look() == f"boot-id:127.0.0.1:{port}:a1"


async def test_another_id_is_another_incarnation_and_told_at_once() -> None:
    async with asking(ok(b"a")) as (application, detector, _):
        changes: list[str | None] = []
        changed = asyncio.Event()

        def note() -> None:
            changes.append(detector.look())
            changed.set()

        await detector.ask()
        first = detector.look()
        detector.start(note)
        application.answer = ok(b"b")
        await asyncio.wait_for(changed.wait(), 10.0)
        assert changes == [str(first)[:-1] + "b"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "it is answered 503"),
        (ok(b""), "no id"),
        (ok(b"two\nlines"), "no id"),
        (ok(b"x" * 257), "more than 256 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "closed before the answer's end"),
        (b"", "closed before the answer's end"),
        (b"SSH-2.0-x\r\n", "not an HTTP/1.x answer"),
    ],
)
async def test_what_is_no_id_is_no_verdict(answer: bytes, problem: str) -> None:
    async with asking(ok(b"a")) as (application, detector, counters):
        await detector.ask()
        before = detector.look()
        application.answer = answer
        assert not await detector.ask()
        assert detector.look() == before
        assert detector.problem is not None
        assert problem in detector.problem
        assert counters.boot_id_failures == 1


async def test_an_answer_that_takes_too_long_is_none() -> None:
    async with asking(ok(b"a"), Limits(boot_id_timeout_s=0.01)) as (application, detector, counters):
        released = asyncio.Event()
        application.held.append(released)
        assert not await detector.ask()
        assert counters.limits_reached["boot_id_timeout_s"] == 1
        released.set()


async def test_an_answer_to_an_older_question_that_comes_late_changes_nothing() -> None:
    async with asking(ok(b"a")) as (application, detector, _):
        late = asyncio.Event()
        application.held.append(late)
        older = asyncio.ensure_future(detector.ask())
        await application.asked.acquire()
        application.answer = ok(b"b")
        assert await detector.ask()
        late.set()
        assert await older
        assert str(detector.look()).endswith(":b")


@pytest.mark.parametrize(("returns_as", "verdict"), [(b"a", Verdict.SAME), (b"b", Verdict.DEAD)])
async def test_there_is_no_verdict_until_somebody_answers(returns_as: bytes, verdict: Verdict) -> None:
    """Rule 8: a refused question may come from a living target behind a network that is down."""
    async with asking(ok(b"a")) as (application, detector, counters):
        await detector.ask()
        identity = detector.look()
        assert identity is not None
        application.answer = b""
        judging = asyncio.ensure_future(judge_loss(detector, identity, settle_s=0.0))
        for _ in range(5):
            await application.asked.acquire()
        assert not judging.done()
        application.answer = ok(returns_as)
        assert await judging is verdict
        assert counters.boot_id_failures >= 3
