"""Our framing against h11 and httptools, and against itself under any cutting, by Hypothesis.

Deliberate differences.  We refuse and h11 accepts: Content-Length repeated or as a list; Transfer-Encoding beside
Content-Length or in HTTP/1.0; bare LF as a line's end; obs-fold; control characters in values; malformed Host;
targets that are none of the four forms, and CONNECT; unknown expectations; trailer fields that steer; long size
lines; fragments in a target; an underscore where a field that steers has a hyphen.  We accept and h11 refuses: empty
lines before a request line (RFC 9112 §2.2), white space before a chunk extension (§7.1.1).  Only these two matter
here, where h11 is shown what we accept.
"""

from __future__ import annotations

import re

import h11
import httptools
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from wire_reading import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    accepted,
    bytewise,
    cut,
    read_answers,
    read_requests,
    request_reader,
)
from wire_strategies import DAMAGES, Message, answers, cut_places, damaged, requests

from interceptor.wire.answer import AnswerReader, Framing
from interceptor.wire.chunked import encode_whole
from interceptor.wire.errors import MessageError
from interceptor.wire.forwarding import Forwarder

_WE_ACCEPT_MORE = re.compile(rb"\n[0-9A-Fa-f]+[\t ]+;")
_CHANGED = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"x-gone", b"transfer-encoding",
    b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
}  # fmt: skip

_noise = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([*DAMAGES, b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"])).map(b"".join),
    damaged(requests()),
    damaged(answers()),
)

Fields = list[tuple[bytes, bytes]]
Seen = tuple[bytes, bytes, Fields, bytes, Fields]


def h11_reads(data: bytes) -> Seen:
    """Return method, target, fields, content and trailers of the one request that data is."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    head = connection.next_event()
    assert isinstance(head, h11.Request), head
    body, trailers = _h11_content(connection)
    return head.method, head.target, list(head.headers), body, trailers


def _h11_content(connection: h11.Connection) -> tuple[bytes, Fields]:
    parts: list[bytes] = []
    while isinstance(event := connection.next_event(), h11.Data):
        parts.append(bytes(event.data))
    assert isinstance(event, h11.EndOfMessage), event
    assert connection.trailing_data[0] == b""
    return b"".join(parts), list(event.headers)


class _Httptools:
    """Collects what httptools says of one request."""

    def __init__(self, data: bytes) -> None:
        self.target = b""
        self.fields: Fields = []
        self.trailers: Fields = []
        self.body = b""
        self.heads = self.ends = 0
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)
        self.seen: Seen = (parser.get_method(), self.target, self.fields, self.body, self.trailers)
        assert (self.heads, self.ends) == (1, 1)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        (self.trailers if self.heads else self.fields).append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


def fields_of(block: bytes) -> Fields:
    """Split field lines that were accepted."""
    pairs = (line.split(b":", 1) for line in block.split(b"\r\n") if line)
    return [(name.lower(), value.strip(b" \t")) for name, value in pairs]


def unchanged(seen: Seen) -> Seen:
    method, target, fields, body, trailers = seen
    return method, target, [field for field in fields if field[0] not in _CHANGED], body, trailers


@settings(max_examples=250)
@given(_noise, cut_places)
def test_requests_do_not_depend_on_cutting(data: bytes, places: list[int]) -> None:
    """Nothing but RequestError is raised; messages and refusal are the same however the bytes arrive."""
    whole = read_requests([data])
    for pieces in (cut(data, places), bytewise(data)):
        result = read_requests(pieces)
        assert result.messages == whole.messages
        assert (result.error is None) == (whole.error is None)


@settings(max_examples=250)
@given(_noise, cut_places, st.booleans())
def test_answers_do_not_depend_on_cutting(data: bytes, places: list[int], to_head_request: bool) -> None:
    """Nothing but AnswerError is raised; messages, refusal and what is cut off are the same."""
    whole = read_answers([data], to_head_request)
    for pieces in (cut(data, places), bytewise(data)):
        result = read_answers(pieces, to_head_request)
        assert (result.messages, result.refused) == (whole.messages, whole.refused)
        assert result.unfinished == whole.unfinished


@settings(max_examples=150)
@given(requests())
def test_valid_requests_are_read_alike(message: Message) -> None:
    """Method, target, fields, content and trailers, by three parsers."""
    ours = accepted(message.data)
    start, _, lines = ours.head.lines.partition(b"\r\n")
    method, target, _ = start.split(b" ")
    seen: Seen = (method, target, fields_of(lines), ours.body, fields_of(ours.trailers))
    assert ours.head.method == method
    assert ours.body == message.body
    assert h11_reads(message.data) == seen
    assert _Httptools(message.data).seen == seen


@settings(max_examples=150)
@given(requests())
def test_what_is_forwarded_says_the_same(message: Message) -> None:
    """Only the listed fields differ, and framing is the same to every reader."""
    ours = accepted(message.data)
    body = encode_whole(ours.body, ours.trailers) if ours.head.chunked else ours.body
    out = Forwarder(b"192.0.2.1", b"http", b"target:80").head(ours.head) + body
    read = h11_reads(out)
    assert unchanged(read) == unchanged(h11_reads(message.data))
    assert _Httptools(out).seen == read
    assert accepted(out).body == message.body
    names = [name for name, _ in read[2]]
    assert [names.count(name) for name in (b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")] == [
        1
    ] * 4
    assert not {b"connection", b"keep-alive", b"te", b"proxy-connection"}.intersection(names)


@settings(max_examples=500)
@given(damaged(requests()))
def test_what_we_accept_h11_accepts(data: bytes) -> None:
    """Each request that we cut out of the stream is one whole request to h11 too, with the same content."""
    reader = request_reader()
    reader.feed(data)
    try:
        while True:
            start = len(data) - reader.buffered_bytes
            request = reader.read_head()
            body = None if request is None else reader.read_body(BODY_BYTES_MAX)
            if request is None or body is None:
                break
            cut_out = data[start : len(data) - reader.buffered_bytes].lstrip(b"\r\n")
            if _WE_ACCEPT_MORE.search(cut_out):
                continue
            method, target, fields, content, trailers = h11_reads(cut_out)
            assert (method, content, trailers) == (request.method, body, fields_of(reader.trailers))
            if target.startswith(b"/"):
                assert target == request.target
                if request.version_minor == 1:
                    assert fields == fields_of(request.lines.partition(b"\r\n")[2])
    except MessageError:
        pass


@settings(max_examples=500)
@given(damaged(answers()), st.booleans())
def test_answers_that_we_accept_h11_accepts(data: bytes, to_head_request: bool) -> None:
    """Each answer that we cut out of the stream is one whole answer to h11's client too, with the same content."""
    reader = AnswerReader(HEAD_BYTES_MAX)
    reader.feed(data)
    try:
        while True:
            start = len(data) - reader.buffered_bytes
            answer = reader.read_head(to_head_request)
            if answer is None:
                break
            assume(answer.status != 101)  # h11 refuses to switch where it did not offer to
            body = reader.read_piece()
            if not reader.complete and not reader.end_of_stream():
                break
            cut_out = data[start : len(data) - reader.buffered_bytes]
            if _WE_ACCEPT_MORE.search(cut_out):
                continue
            connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
            method = "HEAD" if to_head_request else "GET"
            connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
            connection.send(h11.EndOfMessage())
            connection.receive_data(cut_out)
            head = connection.next_event()
            assert isinstance(head, h11.InformationalResponse if answer.interim else h11.Response), head
            assert head.status_code == answer.status
            if answer.interim:
                assert connection.next_event() is h11.NEED_DATA
                assert connection.trailing_data[0] == b""
                continue
            if answer.framing is Framing.CLOSE:
                connection.receive_data(b"")
            assert _h11_content(connection) == (body, fields_of(reader.trailers))
    except MessageError:
        pass


class _HttptoolsAnswer:
    """Collects what httptools says of one answer."""

    def __init__(self, data: bytes) -> None:
        self.body = b""
        self.fields: Fields = []
        self.trailers: Fields = []
        self.heads = 0
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(data)
        self.seen = (parser.get_status_code(), self.fields, self.body, self.trailers)

    def on_header(self, name: bytes, value: bytes) -> None:
        (self.trailers if self.heads else self.fields).append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_body(self, body: bytes) -> None:
        self.body += body


def h11_reads_answer(data: bytes) -> tuple[int, Fields, bytes, Fields]:
    """Return status, fields, content and trailers of the one answer that data is, read to the connection's end."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    head = connection.next_event()
    assert isinstance(head, h11.Response), head
    body, trailers = _h11_content(connection)
    return head.status_code, list(head.headers), body, trailers


@settings(max_examples=150)
@given(answers())
def test_answers_that_are_passed_on_say_the_same(message: Message) -> None:
    """Only fields that end here differ, and framing by close becomes chunked; h11 and httptools read it alike."""
    reader = AnswerReader(HEAD_BYTES_MAX)
    reader.feed(message.data)
    answer = reader.read_head(False)
    assert answer is not None
    body = reader.read_piece()
    assert reader.complete or reader.end_of_stream()
    out = answer.head + body
    if answer.framing is not Framing.LENGTH:
        out = answer.head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + encode_whole(body, reader.trailers)
    status, fields, content, trailers = h11_reads_answer(out)
    assert _HttptoolsAnswer(out).seen == (status, fields, content, trailers)
    before = h11_reads_answer(message.data)
    kept, kept_before = ([field for field in each if field[0] not in _CHANGED] for each in (fields, before[1]))
    assert (status, kept, content, trailers) == (before[0], kept_before, message.body, before[3])
