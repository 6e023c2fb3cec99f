"""What drips in byte by byte costs linear time: each limit is far above what quadratic work could do in seconds."""

from __future__ import annotations

import time

import pytest

from interceptor.wire.answer import AnswerReader
from interceptor.wire.chunked import TRAILER_BYTES_MAX, ChunkedDecoder
from interceptor.wire.request import RequestReader

HEAD_BYTES_MAX = 65_536
# Linear work takes some 0.1 to 0.3 s here, quadratic work took 10 s and more.
CPU_S_MAX = 3.0
FIELDS = b"X: " + b"a" * 30_000 + b"\r\n" + b"Y: b\r\n" * 2_000


def _drip(feed: object, read: object, data: bytes) -> float:
    assert callable(feed)
    assert callable(read)
    start = time.process_time()
    for at in range(len(data) - 1):
        feed(data[at : at + 1])
        assert read() is None
    feed(data[-1:])
    assert read() is not None
    return time.process_time() - start


@pytest.mark.parametrize("target", [b"/", b"/" + b"a" * 8_000])
def test_request_head(target: bytes) -> None:
    reader = RequestReader(HEAD_BYTES_MAX, 8_192, 10_000)
    data = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (target, FIELDS)
    assert _drip(reader.feed, reader.read_head, data) < CPU_S_MAX


def test_answer_head() -> None:
    reader = AnswerReader(HEAD_BYTES_MAX)
    assert _drip(reader.feed, lambda: reader.read_head(False), b"HTTP/1.1 204 \r\n%b\r\n" % FIELDS) < CPU_S_MAX


def test_trailers() -> None:
    decoder = ChunkedDecoder()
    data = b"0\r\nX: " + b"a" * (TRAILER_BYTES_MAX - 100) + b"\r\n\r\n"
    assert _drip(decoder.feed, lambda: decoder.complete or None, data) < CPU_S_MAX
