"""The counter's HTTP without I/O: whole, in every cut, and with another request behind."""

from http import HTTPStatus

import pytest

from bench.counter.http import BODY_BYTES_MAX, HEAD_BYTES_MAX, Request, RequestError, encode_answer, next_request

PLAIN = b"GET /counters/a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
WITH_LENGTH = b"POST /counters/a HTTP/1.1\r\nHost: h\r\ncontent-LENGTH:  5 \r\n\r\nhello"
CHUNKED = (
    b"POST /counters/a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"3;name=value\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: t\r\n\r\n"
)
CHUNKED_NO_TRAILER = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n"
NO_FIELDS = b"GET / HTTP/1.0\r\n\r\n"


def parse(data: bytes, start: int = 0) -> Request:
    request = next_request(data, start)
    assert request is not None
    return request


@pytest.mark.parametrize(
    ("data", "method", "target", "body"),
    [
        (PLAIN, b"GET", b"/counters/a?x=1", b""),
        (WITH_LENGTH, b"POST", b"/counters/a", b"hello"),
        (CHUNKED, b"POST", b"/counters/a", b"hello"),
        (CHUNKED_NO_TRAILER, b"POST", b"/", b"0123456789"),
        (NO_FIELDS, b"GET", b"/", b""),
    ],
)
def test_a_request_is_the_same_in_every_cut(data: bytes, method: bytes, target: bytes, body: bytes) -> None:
    for cut in range(len(data)):
        assert next_request(data[:cut], 0) is None, data[:cut]
    for start, around in ((0, data), (0, data + PLAIN), (len(PLAIN), PLAIN + data + b"GARBAGE")):
        request = parse(around, start)
        assert (request.method, request.target, request.body) == (method, target, body)
        assert request.end == start + len(data)


@pytest.mark.parametrize(
    ("version", "field", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: Close\r\n", False),
        (b"1.1", b"connection: upgrade, close\r\n", False),
        (b"1.1", b"X-Connection: close\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_keep_alive(version: bytes, field: bytes, keep_alive: bool) -> None:
    assert parse(b"GET / HTTP/%b\r\n%b\r\n" % (version, field)).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/2.0\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET relative HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", HTTPStatus.BAD_REQUEST),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", HTTPStatus.NOT_IMPLEMENTED),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", HTTPStatus.BAD_REQUEST),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", HTTPStatus.BAD_REQUEST),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        (b"POST / HTTP/1.1\r\nContent-Length: %b\r\n\r\n" % (b"9" * 9999), HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ],
)
def test_what_is_refused(data: bytes, status: HTTPStatus) -> None:
    with pytest.raises(RequestError) as refused:
        next_request(data, 0)
    assert refused.value.status == status


def test_answers_are_complete_and_the_same_each_time() -> None:
    expected = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    assert encode_answer(200, b"{}") == encode_answer(200, b"{}") == expected
    assert encode_answer(200, b"{}", with_body=False) == expected[:-2]
    assert encode_answer(200, b"{}", b"Connection: close\r\n").endswith(b"\r\nConnection: close\r\n\r\n{}")
    assert b"\r\nAllow: " in encode_answer(405, b"{}")
