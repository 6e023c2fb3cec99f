"""Answers read from the target's bytes (RFC 9112 §4 to §7), strictly.

`AnswerReader` is pulled like `RequestReader`: the caller knows to which request the next answer belongs, and tells
whether that was HEAD, because framing depends on it (RFC 9112 §6.3).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NoReturn

from interceptor.wire import chunked
from interceptor.wire.errors import AnswerError
from interceptor.wire.grammar import ANSWER_HEAD, BARE_LF, COMMON_ANSWER_HEAD, STEERING_OF_ANSWER

_CONTENT_LENGTH_DIGITS_MAX = 18
_REASON_AT = len(b"HTTP/1.1 200")
_ENDS_HERE = rb"connection|keep-alive|proxy-connection|te|upgrade|transfer-encoding"
_FIELDS_THAT_END_HERE = re.compile(rb"(?i)\n(?:%b):[^\r]*+\r" % _ENDS_HERE)
_UPGRADE_FIELD = re.compile(rb"(?i)\nupgrade:[\t ]*+([^\r]*+)")
_CONTENT_LENGTH_FIELD = re.compile(rb"(?i)\ncontent-length:[^\r]*+\r")


class Framing(Enum):
    """How the content of an answer is delimited (RFC 9112 §6.3)."""

    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


# Names of enumeration members cost a look-up in the class each time.
_LENGTH = Framing.LENGTH
_BODILESS = frozenset({204, 304})
_match_common_head = COMMON_ANSWER_HEAD.match
_match_head = ANSWER_HEAD.match
_find_steering = STEERING_OF_ANSWER.findall
# Status codes and most lengths: a look-up costs less than a conversion.
_NUMBERS = {b"%d" % number: number for number in range(4096)}


class Answer:
    """A validated answer head.

    `head` is what a client gets: status line and field lines, hop-by-hop fields taken out, with the empty line; it
    says nothing of framing where that is not by length.  `length` is the content's length in bytes for
    Framing.LENGTH, otherwise -1.  `closes` says that the target reads nothing more on this connection (RFC 9112 §9.6).
    """

    # What most answers don't have is a class attribute: one object for each answer, so its making counts.
    length = 0
    closes = False
    upgrade = b""

    def __init__(self, status: int, head: bytes) -> None:
        self.status = status
        self.head = head
        self.framing = _LENGTH

    @property
    def interim(self) -> bool:
        """1xx: another head follows (RFC 9110 §15.2); 101 is final on its connection."""
        return self.status < 200 and self.status != 101


class AnswerReader:
    """Reads answers from one connection to the target.  `head_bytes_max` bounds each head, in bytes."""

    __slots__ = (
        "_buffer", "_chunked", "_error", "_framing", "_head_max", "_left",
        "_nominated", "_position", "_scanned", "trailers",
    )  # fmt: skip

    def __init__(self, head_bytes_max: int) -> None:
        self._head_max = head_bytes_max
        self._buffer = b""
        self._position = 0
        self._scanned = 0
        self._left = 0
        self._framing = Framing.LENGTH
        self._chunked: chunked.ChunkedDecoder | None = None
        self._nominated: set[bytes] = set()
        self._error: AnswerError | None = None
        self.trailers = b""

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        if self._position >= len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._position :] + data
        self._position = 0

    @property
    def buffered_bytes(self) -> int:
        """What was fed and not yet asked for."""
        return len(self._buffer) - self._position

    def take_rest(self) -> bytes:
        """Return what was fed and not parsed, and forget it."""
        rest = self._buffer[self._position :]
        self._buffer = b""
        self._position = 0
        return rest

    def read_head(self, to_head_request: bool) -> Answer | None:
        """Return the next answer's head, interim ones included, or None until it is complete.  Raises AnswerError."""
        if self._error is not None:
            raise self._error
        buffer, position = self._buffer, self._position
        if position >= len(buffer):
            return None
        if self._scanned and buffer.find(b"\r\n\r\n", position + max(0, self._scanned - 3)) < 0:
            self._refuse_hopeless_head()
            return None
        if not to_head_request:
            common = _match_common_head(buffer, position)
            if common is not None:
                digits, length_digits = common.groups()
                status, end = _number(digits), common.end()
                if status not in _BODILESS and end - position <= self._head_max:
                    answer = Answer(status, buffer[position:end])
                    answer.length = self._left = _number(length_digits)
                    self._framing = _LENGTH
                    self.trailers = b""
                    self._position = end
                    self._scanned = 0
                    return answer
        match = _match_head(buffer, position)
        if match is None:
            if buffer.find(b"\r\n\r\n", position) >= 0:
                self._fail("malformed head (RFC 9112 §4, §5)")
            self._refuse_hopeless_head()
            return None
        end = match.end()
        if end - position > self._head_max:
            self._fail(f"head larger than {self._head_max} bytes", "answer_head_bytes_max")
        minor, digits = match.groups()
        status = int(digits)
        answer = Answer(status, buffer[position:end])
        if answer.head[_REASON_AT : _REASON_AT + 1] == b"\r":  # RFC 9112 §4: the space is not optional
            answer.head = b"%b %b" % (answer.head[:_REASON_AT], answer.head[_REASON_AT:])
        self._position = end
        self._scanned = 0
        self._steer(answer, _find_steering(answer.head.lower()), minor == b"1", to_head_request)
        return answer

    def _steer(self, answer: Answer, found: list[tuple[bytes, bytes]], http11: bool, to_head_request: bool) -> None:
        """Decide framing and persistence; take out what ends here (RFC 9112 §6.3, §9.3; RFC 9110 §7.6.1)."""
        length = -1
        connection: bytes | None = None
        hop_by_hop = not http11
        is_chunked = False
        for name, value in found:
            if name == b"content-length":
                digits = value.rstrip()
                if length >= 0:
                    self._fail("more than one Content-Length field (RFC 9112 §6.3)")
                if not digits.isdigit() or len(digits) > _CONTENT_LENGTH_DIGITS_MAX:
                    self._fail("malformed Content-Length (RFC 9110 §8.6)")
                length = int(digits)
                continue
            hop_by_hop = True
            if name == b"connection":
                connection = value if connection is None else connection + b"," + value
            elif name == b"transfer-encoding":
                if is_chunked or value.rstrip() != b"chunked" or not http11:
                    self._fail("a Transfer-Encoding other than one final chunked (RFC 9112 §6.1)")
                is_chunked = True
            elif name == b"upgrade":
                # With the case in which it was written, because it is passed on.
                answer.upgrade = b", ".join(each.rstrip() for each in _UPGRADE_FIELD.findall(answer.head))
        if is_chunked and length >= 0:
            self._fail("both Transfer-Encoding and Content-Length (RFC 9112 §6.3)")
        self._nominated = set()
        if hop_by_hop:
            self._nominated = self._take_out(answer, connection or b"", http11)
        self._chunked = None
        self.trailers = b""
        status = answer.status
        if status < 200 or status in (204, 304) or to_head_request:
            # RFC 9110 §8.6, RFC 9112 §6.1: no framing field belongs into 1xx and 204; in 304 and to HEAD it describes.
            if length >= 0 and (status < 200 or status == 204):
                answer.head = _CONTENT_LENGTH_FIELD.sub(b"", answer.head)
            self._framing, self._left = Framing.LENGTH, 0
            if is_chunked and status >= 200 and status != 204:
                answer.head = answer.head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        elif is_chunked:
            answer.framing, answer.length = Framing.CHUNKED, -1
            self._framing = Framing.CHUNKED
            self._chunked = chunked.ChunkedDecoder()
        elif length >= 0:
            answer.length = length
            self._framing, self._left = Framing.LENGTH, length
        else:
            answer.framing, answer.length, answer.closes = Framing.CLOSE, -1, True
            self._framing = Framing.CLOSE

    @staticmethod
    def _take_out(answer: Answer, connection: bytes, http11: bool) -> set[bytes]:
        """Take out the fields that end here; return the names that Connection has nominated."""
        options = {option.strip(b" \t") for option in connection.split(b",")}
        answer.closes = b"close" in options if http11 else b"keep-alive" not in options
        head = _FIELDS_THAT_END_HERE.sub(b"", answer.head)
        nominated = options - {b"", b"close", b"keep-alive", b"upgrade", b"content-length"}
        for name in sorted(nominated):
            head = re.sub(rb"(?i)\n%b:[^\r]*+\r" % re.escape(name), b"", head)
        if answer.status == 426 and answer.upgrade:  # RFC 9110 §15.5.22: it must say what to upgrade to
            head = b"%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (head[:-2], answer.upgrade)
        answer.head = head if http11 else b"HTTP/1.1" + head[8:]
        return nominated

    def read_whole(self) -> bytes | None:
        """Return the whole content of an answer framed by length, or None until it is there."""
        if self._error is not None:
            raise self._error
        start = self._position
        end = start + self._left
        if len(self._buffer) < end:
            return None
        self._position = end
        self._left = 0
        return self._buffer[start:end]

    def read_piece(self) -> bytes:
        """Return the content that is there now, decoded; b"" if there is none.  Raises AnswerError."""
        if self._error is not None:
            raise self._error
        if self._framing is Framing.LENGTH:
            piece = self._buffer[self._position : self._position + self._left]
            self._position += len(piece)
            self._left -= len(piece)
            return piece
        if self._framing is Framing.CLOSE:
            return self.take_rest()
        decoder = self._chunked
        if decoder is None or self._position >= len(self._buffer):
            return b""
        try:
            piece = b"".join(decoder.feed(self.take_rest()))
        except chunked.ChunkedError as error:
            self._fail(str(error))
        if decoder.complete:
            self._buffer = decoder.rest
            self.trailers = chunked.without_fields(decoder.trailers, self._nominated)
        return piece

    @property
    def complete(self) -> bool:
        """Whether the current answer has been read to its end; one framed by close ends with `end_of_stream`."""
        if self._framing is Framing.CHUNKED:
            return self._chunked is not None and self._chunked.complete
        return self._framing is Framing.LENGTH and self._left == 0

    def end_of_stream(self) -> bool:
        """Say that the target ended its side; return whether that completed an answer framed by close."""
        if self._framing is not Framing.CLOSE:
            return False
        self._framing, self._left = Framing.LENGTH, 0
        return True

    def _refuse_hopeless_head(self) -> None:
        head_bytes = len(self._buffer) - self._position
        # A target that ends its lines with LF alone never comes to what we take for an end, and would be waited for.
        if BARE_LF.search(self._buffer, self._position + self._scanned):
            self._fail("a line that ends with a bare LF (RFC 9112 §2.2)")
        self._scanned = head_bytes
        if head_bytes >= self._head_max:
            self._fail(f"head larger than {self._head_max} bytes", "answer_head_bytes_max")
        start = self._buffer[self._position : self._position + 7]
        if not b"HTTP/1.".startswith(start):
            self._fail("not an HTTP/1.x answer")

    def _fail(self, reason: str, limit: str | None = None) -> NoReturn:
        self._error = AnswerError(reason, limit)
        raise self._error


def _number(digits: bytes) -> int:
    number = _NUMBERS.get(digits)
    return int(digits) if number is None else number
