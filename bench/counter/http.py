"""HTTP/1.1 as far as a small server needs it, without I/O: bytes in, requests out; answers in, bytes out.

Answers carry no `Date`, so that the same request against the same state is answered with the same bytes.
"""

import re
from http import HTTPStatus
from typing import NamedTuple

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 4 * 1024 * 1024
SNAPSHOT_BYTES_MAX = 1024 * 1024 * 1024

_REQUEST_LINE = re.compile(rb"(?:\r\n)?([A-Z]+) (/[!-~]*) HTTP/1\.([01])\r\n")
_STEERING_FIELDS = re.compile(rb"\r\n(content-length|transfer-encoding|connection):[ \t]*([^\r\n]*)", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")


class Request(NamedTuple):
    """One request as it stood in a buffer; `end` is the position behind its last byte."""

    method: bytes
    target: bytes
    body: bytes
    http_1_0: bool
    keep_alive: bool
    end: int


class RequestError(Exception):
    """The peer sent something that can't be answered but by this status and the end of the connection."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def next_request(data: bytes, start: int) -> Request | None:
    """The request that begins at `start`, or None while it is incomplete. Raises RequestError."""
    head_end = data.find(b"\r\n\r\n", start)
    if head_end < 0:
        if len(data) - start > HEAD_BYTES_MAX:
            raise RequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too large")
        return None
    line = _REQUEST_LINE.match(data, start, head_end + 2)
    if line is None:
        raise RequestError(HTTPStatus.BAD_REQUEST, "malformed request line")
    method, target, minor = line.groups()
    end = head_end + 4
    body = b""
    http_1_0 = minor == b"0"
    keep_alive = not http_1_0
    length: int | None = None
    coding: bytes | None = None
    for name, value in _STEERING_FIELDS.findall(data, line.end() - 2, head_end + 2):
        kind = name.lower()
        if kind == b"connection":
            keep_alive = b"keep-alive" in value.lower() if http_1_0 else b"close" not in value.lower()
        elif length is not None or coding is not None:
            raise RequestError(HTTPStatus.BAD_REQUEST, "more than one field says where the body ends")
        elif kind == b"content-length":
            length = _content_length(value, SNAPSHOT_BYTES_MAX if method == b"PUT" else BODY_BYTES_MAX)
        else:
            coding = value.lower().rstrip(b" \t")
    if length:
        end += length
        if len(data) < end:
            return None
        body = data[head_end + 4 : end]
    elif coding is not None:
        chunked = _chunked_body(data, end, coding)
        if chunked is None:
            return None
        body, end = chunked
    return Request(method, target, body, http_1_0, keep_alive, end)


def wanted_bytes(data: bytes, start: int) -> int:
    """How many bytes from `start` an incomplete request has for certain: nobody need look at it before."""
    head_end = data.find(b"\r\n\r\n", start)
    if head_end < 0:
        return 0
    fields = {name.lower(): value for name, value in _STEERING_FIELDS.findall(data, start, head_end + 2)}
    return head_end + 4 - start + _content_length(fields.get(b"content-length", b"0"), SNAPSHOT_BYTES_MAX)


def _content_length(value: bytes, bytes_max: int) -> int:
    text = value.rstrip(b" \t")
    if not text.isdigit():
        raise RequestError(HTTPStatus.BAD_REQUEST, "malformed Content-Length")
    if len(text) > 18 or (length := int(text)) > bytes_max:
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
    return length


def _chunked_body(data: bytes, start: int, coding: bytes) -> tuple[bytes, int] | None:
    """The decoded body and the position behind its trailers, or None while it is incomplete."""
    if coding != b"chunked":
        raise RequestError(HTTPStatus.NOT_IMPLEMENTED, "the only transfer coding known here is chunked")
    chunks: list[bytes] = []
    limit = start + BODY_BYTES_MAX
    while True:
        size_line = _CHUNK_SIZE.match(data, start)
        if size_line is None:
            if data.find(b"\r\n", start) >= 0:
                raise RequestError(HTTPStatus.BAD_REQUEST, "malformed chunk size")
            return None
        size = int(size_line[1], 16)
        if size == 0:
            # From the line break of the last chunk on, so that no trailers and some trailers end alike.
            trailers_end = data.find(b"\r\n\r\n", size_line.end() - 2)
            return None if trailers_end < 0 else (b"".join(chunks), trailers_end + 4)
        chunk_end = size_line.end() + size
        if chunk_end > limit:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
        if len(data) < chunk_end + 2:
            return None
        if data[chunk_end : chunk_end + 2] != b"\r\n":
            raise RequestError(HTTPStatus.BAD_REQUEST, "a chunk is longer than its size says")
        chunks.append(data[size_line.end() : chunk_end])
        start = chunk_end + 2


def _head(status: HTTPStatus) -> bytes:
    allow = "Allow: GET, HEAD, POST, DELETE\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    line = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
    return f"{line}Content-Type: application/json\r\n{allow}Content-Length: ".encode()


_HEADS = {int(status): _head(status) for status in HTTPStatus if status >= HTTPStatus.OK}


def encode_answer(status: int, body: bytes, connection: bytes = b"", *, with_body: bool = True) -> bytes:
    """An answer with a JSON body, or (to HEAD) its head alone. `connection` is a whole field line or nothing."""
    return b"%b%d\r\n%b\r\n%b" % (_HEADS[status], len(body), connection, body if with_body else b"")
