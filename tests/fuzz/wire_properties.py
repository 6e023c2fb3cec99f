"""What holds for any bytes on the wire layer, as one function over one input.

The first byte says what the rest is (a request, an answer, an answer to HEAD), the second how it is cut in pieces.
"""

from __future__ import annotations

import sys
from pathlib import Path

import h11

sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))  # for wire_reading

from wire_reading import FIELDS_MAX, HEAD_BYTES_MAX, ReadAnswer, ReadRequest, cut, read_answers, read_requests

from interceptor.wire.answer import Framing
from interceptor.wire.chunked import encode_whole
from interceptor.wire.forwarding import Forwarder
from interceptor.wire.request import RequestReader

REQUEST, ANSWER, ANSWER_TO_HEAD = range(3)


def check(data: bytes) -> None:
    """Raise AssertionError, or whatever came out, if one of the properties does not hold for `data`."""
    if len(data) < 2:
        return
    kind, stride, message = data[0] % 3, data[1] % 16 + 1, data[2:]
    pieces = cut(message, range(0, len(message), stride))
    if kind == REQUEST:
        _check_requests(message, pieces)
    else:
        _check_answers(message, pieces, kind == ANSWER_TO_HEAD)


def _check_requests(message: bytes, pieces: list[bytes]) -> None:
    whole, pieced = read_requests([message]), read_requests(pieces)
    assert whole.messages == pieced.messages
    assert (whole.error is None) == (pieced.error is None)
    assert whole.status in (None, 400, 413, 414, 417, 431, 501, 505)
    for each in whole.messages:
        _check_forwarded(each)


def _check_forwarded(read: ReadRequest) -> None:
    """What is forwarded is one message with the same content, to us and to h11, and stays what it is."""
    body = encode_whole(read.body, read.trailers) if read.head.chunked else read.body
    out = Forwarder(b"192.0.2.1", b"http", b"target:80").head(read.head) + body
    if read.head.method not in (b"OPTIONS", b"TRACE"):  # whose Max-Forwards would be counted down once more
        # What we add may lift a head over the limit that it kept.
        again = read_requests([out], RequestReader(2 * HEAD_BYTES_MAX, HEAD_BYTES_MAX, 2 * FIELDS_MAX))
        assert again.error is None, again.error
        assert [(each.head.method, each.body, each.trailers) for each in again.messages] == [
            (read.head.method, read.body, read.trailers)
        ]
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    reader.receive_data(out)
    head = reader.next_event()
    assert isinstance(head, h11.Request), head
    content = b""
    while isinstance(event := reader.next_event(), h11.Data):
        content += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), event
    assert (head.method, head.target, content) == (read.head.method, read.head.target, read.body)
    assert reader.trailing_data[0] == b""


def _check_answers(message: bytes, pieces: list[bytes], to_head: bool) -> None:
    whole, pieced = read_answers([message], to_head), read_answers(pieces, to_head)
    assert (whole.messages, whole.refused) == (pieced.messages, pieced.refused)
    assert whole.unfinished == pieced.unfinished
    for each in whole.messages:
        _check_passed_on(each, to_head)


def _check_passed_on(read: ReadAnswer, to_head: bool) -> None:
    """What the client gets is one answer with the same content."""
    head, content = read.head.head, read.body
    if read.head.framing is not Framing.LENGTH:
        head = head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        content = encode_whole(read.body, read.trailers)
    if len(head) > HEAD_BYTES_MAX:  # by what we have added
        return
    again = read_answers([head + content], to_head)
    assert not again.refused
    assert [(each.head.status, each.body, each.trailers) for each in again.messages] == [
        (read.head.status, read.body, read.trailers)
    ]
