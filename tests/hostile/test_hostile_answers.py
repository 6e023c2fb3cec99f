"""Each hostile answer: its client gets 502, or an end that can't be taken for the whole; the next request is served.

RFC 9112 §6.3, §8 and RFC 9110 §15.6.3 for a gateway.  What a target says that is no answer is never passed on.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from answer_cases import ANSWERS, CUT, AnswerCase
from proxies import OURS, start_ours
from scripted import Connection, ScriptedTarget, path_of
from support import Message, Processes, Server, Wire

ASK = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
HONEST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def script(connection: Connection) -> None:
    """Answer /N with case N, and anything else honestly; end only when the other side does."""
    while head := connection.head():
        number = path_of(head)[1:]
        connection.send(ANSWERS[int(number)].data if number.isdigit() else HONEST)


@pytest.fixture(scope="module", params=OURS)
def proxy(request: pytest.FixtureRequest, hostile_processes: Processes) -> Iterator[Server]:
    target = ScriptedTarget(script)
    yield start_ours(hostile_processes, target, request.param)
    target.close()


def asked(proxy: Server, path: bytes) -> Message | None:
    """Return the answer, or None where the connection ended before the answer did."""
    with Wire(proxy) as wire:
        wire.send(ASK % path)
        try:
            return wire.answer()
        except (AssertionError, ConnectionError):
            return None


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case.name)
def test_answer(proxy: Server, case: AnswerCase) -> None:
    """The connection that it came on is given up, so what follows is not taken for the next answer."""
    message = asked(proxy, b"/%d" % ANSWERS.index(case))
    if case.content is CUT:
        assert message is None or message.status == 502
    elif case.content is None:
        assert message is not None
        assert (message.status, message.values(b"Content-Type")) == (502, [b"application/problem+json"])
    else:
        assert message is not None
        assert (message.status, message.content) == (200, case.content)
    honest = asked(proxy, b"/honest")
    assert honest is not None
    assert honest.content == b"ok"
