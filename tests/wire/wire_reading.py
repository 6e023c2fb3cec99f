"""Reading messages three ways: whole, byte by byte, and with a following message behind (as h11's tests do)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from interceptor.wire.answer import Answer, AnswerReader, Framing
from interceptor.wire.errors import AnswerError, RequestError
from interceptor.wire.request import Request, RequestReader

HEAD_BYTES_MAX = 2048
TARGET_BYTES_MAX = 512
FIELDS_MAX = 32
BODY_BYTES_MAX = 4096

NEXT_REQUEST = b"POST /next HTTP/1.1\r\nHost: next\r\nContent-Length: 4\r\n\r\nnext"
NEXT_ANSWER = b"HTTP/1.1 200 Next\r\nContent-Length: 4\r\n\r\nnext"


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut data at these places, which need neither be in order nor within it."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


def public(message: Request | Answer) -> dict[str, object]:
    """Return everything that a message says of itself."""
    return {name: getattr(message, name) for name in dir(message) if not name.startswith("_")}


@dataclass
class ReadRequest:
    """A request with its content, comparable."""

    head: Request
    body: bytes
    trailers: bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadRequest) and self._parts() == other._parts()

    def _parts(self) -> list[object]:
        return [self.body, self.trailers, public(self.head)]


@dataclass
class Requests:
    """What was read from one connection, and the status of the refusal that ended it."""

    messages: list[ReadRequest] = field(default_factory=list)
    error: RequestError | None = None

    @property
    def status(self) -> int | None:
        return None if self.error is None else self.error.status


def request_reader() -> RequestReader:
    return RequestReader(HEAD_BYTES_MAX, TARGET_BYTES_MAX, FIELDS_MAX)


def read_requests(pieces: Iterable[bytes], reader: RequestReader | None = None) -> Requests:
    """Feed the pieces one by one and read what is there after each.  Nothing but RequestError may come out."""
    reader = reader or request_reader()
    result = Requests()
    request: Request | None = None
    try:
        for piece in pieces:
            reader.feed(piece)
            while True:
                request = request or reader.read_head()
                if request is None:
                    break
                body = reader.read_body(BODY_BYTES_MAX)
                if body is None:
                    break
                result.messages.append(ReadRequest(request, body, reader.trailers))
                request = None
    except RequestError as error:
        result.error = error
    return result


def accepted(data: bytes) -> ReadRequest:
    """Read one request three ways, and return it."""
    whole = read_requests([data])
    assert whole.error is None, whole.error
    assert len(whole.messages) == 1
    assert read_requests(bytewise(data)) == whole
    behind = read_requests([data + NEXT_REQUEST])
    assert behind.error is None
    assert [behind.messages[0]] == whole.messages
    assert [message.head.target for message in behind.messages[1:]] == [b"/next"]
    assert behind.messages[1].body == b"next"
    return whole.messages[0]


def refused(data: bytes, reason: str = "") -> int:
    """Have one request refused three ways, and return the status."""
    results = [read_requests(pieces) for pieces in ([data], bytewise(data), [data + NEXT_REQUEST])]
    assert [result.messages for result in results] == [[], [], []]
    statuses = {result.status for result in results}
    assert len(statuses) == 1, statuses
    error = results[0].error
    assert error is not None, "was not refused"
    assert reason in error.reason
    return error.status


def with_fields(
    *lines: bytes, start: bytes = b"POST /p HTTP/1.1", host: bytes = b"Host: a\r\n", body: bytes = b""
) -> bytes:
    return start + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


@dataclass
class ReadAnswer:
    """An answer with its content, comparable."""

    head: Answer
    body: bytes
    trailers: bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadAnswer) and self._parts() == other._parts()

    def _parts(self) -> list[object]:
        return [self.body, self.trailers, public(self.head)]


@dataclass
class Answers:
    """What was read from one connection; `unfinished` is the answer that its end cut off."""

    messages: list[ReadAnswer] = field(default_factory=list)
    unfinished: bytes | None = None
    refused: bool = False


def read_answers(pieces: Iterable[bytes], to_head_request: bool = False, ends: bool = True) -> Answers:
    """Feed the pieces, reading after each; then the stream ends.  Nothing but AnswerError may come out."""
    reader = AnswerReader(HEAD_BYTES_MAX)
    result = Answers()
    head: Answer | None = None
    parts: list[bytes] = []

    def take_end() -> None:
        assert head is not None
        result.messages.append(ReadAnswer(head, b"".join(parts), reader.trailers))
        parts.clear()

    try:
        for piece in pieces:
            reader.feed(piece)
            while True:
                head = head or reader.read_head(to_head_request)
                if head is None:
                    break
                parts.append(reader.read_piece())
                if not reader.complete:
                    break
                take_end()
                head = None
    except AnswerError:
        result.refused = True
    if head is not None and not result.refused:
        if ends and reader.end_of_stream():
            take_end()
        else:
            result.unfinished = b"".join(parts)
    return result


def answered(data: bytes, to_head_request: bool = False) -> ReadAnswer:
    """Read one answer three ways, and return it."""
    whole = read_answers([data], to_head_request)
    assert not whole.refused
    assert whole.unfinished is None
    assert len(whole.messages) == 1
    assert read_answers(bytewise(data), to_head_request) == whole
    answer = whole.messages[0]
    behind = read_answers([data + NEXT_ANSWER], to_head_request)
    if answer.head.framing is Framing.CLOSE:
        assert [message.body for message in behind.messages] == [answer.body + NEXT_ANSWER]
    else:
        assert behind.messages[0] == answer
        assert behind.messages[1].head.status == 200
    return answer


def answer_refused(data: bytes, to_head_request: bool = False) -> None:
    """Have one answer refused three ways."""
    for pieces in ([data], bytewise(data), [data + NEXT_ANSWER]):
        result = read_answers(pieces, to_head_request)
        assert result.refused
        assert result.messages == []
