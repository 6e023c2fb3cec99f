"""Valid messages for Hypothesis, and small damages to them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"]
NAMES = [b"A", b"b", b"B", b"X-Long-Name", b"Accept", b"Cookie", b"Content-Type", b"ETag", b"!#$%&'*+-.^_`|~9"]
HOP_BY_HOP = [b"Keep-Alive: 5", b"TE: trailers", b"Connection: X-Gone", b"X-Gone: 1", b"Proxy-Connection: a"]
FORWARDED = [b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-Host: h", b"X-Forwarded-Proto: https", b"Via: 1.0 x"]
# Bytes that mean something to somebody who reads HTTP.
DAMAGES = [bytes([code]) for code in b"\r\n\0 \t:;,-+0159aAfF/*?%\x0b\x7f\x80\xff"] + [
    b"\r\n", b"\r\n\r\n", b"\n\n", b"\r\n ", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n", b"Connection: close\r\n", b"Host: b\r\n", b"HTTP/1.0", b"0\r\n\r\n", b"5\r\n",
]  # fmt: skip

_content = st.binary(max_size=40)
_value_bytes = bytes([9, *range(32, 127), *range(128, 256)])
_values = st.lists(st.sampled_from(list(_value_bytes)), max_size=12).map(bytes)
_targets = st.lists(st.sampled_from(list(b"abc/?&=%:;.*~-_0")), max_size=12).map(lambda codes: b"/" + bytes(codes))
_fields = st.lists(st.builds(b"%b:%b".__mod__, st.tuples(st.sampled_from(NAMES), _values)), max_size=4)
_extensions = st.sampled_from([b"", b"", b";a", b";a=b"])


@dataclass(frozen=True)
class Message:
    """A valid message as bytes, and its content."""

    data: bytes
    body: bytes


@st.composite
def _chunks(draw: st.DrawFn) -> Message:
    parts = [part for part in draw(st.lists(_content, max_size=3)) if part]
    lines = [b"%x%b\r\n%b\r\n" % (len(part), draw(_extensions), part) for part in parts]
    trailers = b"".join(field + b"\r\n" for field in draw(_fields) if not field.startswith(b"Co"))
    return Message(b"".join(lines) + b"0%b\r\n%b\r\n" % (draw(_extensions), trailers), b"".join(parts))


@st.composite
def _framed(draw: st.DrawFn, start: bytes, fields: list[bytes], framings: list[str]) -> Message:
    framing = draw(st.sampled_from(framings))
    content = Message(b"", b"")
    if framing == "length":
        body = draw(_content)
        content = Message(body, body)
        fields = [*fields, b"Content-Length: %d" % len(body)]
    elif framing == "chunked":
        content = draw(_chunks())
        fields = [*fields, b"Transfer-Encoding: chunked"]
    elif framing == "close":
        body = draw(_content)
        content = Message(body, body)
    fields = draw(st.permutations(fields))
    return Message(
        start + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + content.data, content.body
    )


@st.composite
def requests(draw: st.DrawFn) -> Message:
    """A valid HTTP/1.1 request, with some of the fields that end or are completed here."""
    start = b"%b %b HTTP/1.1" % (draw(st.sampled_from(METHODS)), draw(_targets))
    steering = draw(st.lists(st.sampled_from(HOP_BY_HOP + FORWARDED), max_size=3, unique=True))
    return draw(_framed(start, [b"Host: a", *draw(_fields), *steering], ["none", "length", "chunked"]))


@st.composite
def answers(draw: st.DrawFn) -> Message:
    """A valid final answer; one framed by close must be the last of its connection."""
    status = draw(st.sampled_from([200, 201, 206, 404, 500, 999]))
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    minor = 1 if framing == "chunked" else draw(st.integers(0, 1))
    fields = [*draw(_fields), *draw(st.lists(st.sampled_from(HOP_BY_HOP), max_size=2, unique=True))]
    return draw(_framed(b"HTTP/1.%d %d Some" % (minor, status), fields, [framing]))


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[Message]) -> bytes:
    """One to two messages with up to three places overwritten, filled in, cut out or doubled."""
    data = b"".join(message.data for message in draw(st.lists(messages, min_size=1, max_size=2)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        cut_out = draw(st.integers(0, 2))
        data = data[:at] + draw(st.sampled_from([b"", *DAMAGES])) + data[at + cut_out :]
    return data


cut_places = st.lists(st.integers(0, 400), max_size=8)
