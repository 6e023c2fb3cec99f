"""Requests read from a client's bytes (RFC 9112 §2 to §7), strictly.

`RequestReader` is pulled: `feed` it, ask for the next head, decide by the head where the request goes, then ask for
its body, whole or piece by piece.  Its errors are sticky (see `errors`).
"""

from __future__ import annotations

import re
from typing import NoReturn

from interceptor.wire import chunked
from interceptor.wire.canonical import count_forwards, write_anew
from interceptor.wire.errors import RequestError
from interceptor.wire.grammar import (
    ABSOLUTE_FORM,
    BARE_LF,
    COMMON_REQUEST_HEAD,
    HOST,
    REQUEST_HEAD,
    REQUEST_LINE,
    STEERING_OF_REQUEST,
    TOKEN,
)

# RFC 9110 §5.1: a field line is at least "a:" and CRLF, so a block shorter than four times the count can't exceed it.
_FIELD_LINE_BYTES_MIN = 4
# 18 digits: what fits in a signed 64-bit number with room to spare.
_CONTENT_LENGTH_DIGITS_MAX = 18
_FIRST_OF_METHOD = re.compile(TOKEN)
_NO_METHODS = frozenset({b"CONNECT", b"PRI"})
_BOUNDED_METHODS = frozenset({b"OPTIONS", b"TRACE"})
_H2C = re.compile(rb"(?<![^,\t ])h2c(?![^,\t /])")


_match_common_head = COMMON_REQUEST_HEAD.match
_find_steering = STEERING_OF_REQUEST.findall
# With the case in which the client wrote it, because it is passed on as X-Forwarded-Host.
_find_host = re.compile(rb"(?i)\nhost:[\t ]*+([^\r]*+)").findall


class Request:
    """A validated request head.

    `lines` is the request line and the field lines as they came, each with its CRLF, without the empty line.
    `content_length` is -1 where there is no such field.  `nominated` are the options of Connection other than
    close, keep-alive and upgrade: names of fields that end here.  `plain` says that nothing in the head needs to be
    rewritten before it is forwarded.
    """

    # What most requests don't have is a class attribute: one object for each request, so its making counts.
    version_minor = 1
    host: bytes | None = None
    content_length = -1
    chunked = False
    keep_alive = True
    plain = True
    expects_continue = False
    upgrade: bytes | None = None
    nominated: tuple[bytes, ...] = ()
    forwarded_for = False
    forwarded_host = False
    forwarded_proto = False

    def __init__(self, method: bytes, lines: bytes) -> None:
        self.method = method
        self.lines = lines

    @property
    def target(self) -> bytes:
        """The request target in origin-form or asterisk-form."""
        return self.lines.split(b" ", 2)[1]

    @property
    def has_body(self) -> bool:
        return self.chunked or self.content_length > 0


# Parts of a content that may wait to be joined: so many, and one more for each so many bytes.
_PARTS_MAX = 256
_PART_BYTES_MIN = 1024


class RequestReader:
    """Reads requests from one connection.  Limits are in bytes; `fields_max` is a count of field lines."""

    __slots__ = (
        "_buffer", "_chunked", "_error", "_fields_max", "_head_max", "_last_host", "_left", "_nominated", "_parts",
        "_position", "_scanned", "_small_chunks_max", "_small_head", "_target_max", "body_bytes", "trailers",
    )  # fmt: skip

    def __init__(
        self, head_bytes_max: int, target_bytes_max: int, fields_max: int, small_chunks_max: int = 8_192
    ) -> None:
        self._small_chunks_max = small_chunks_max
        # Heads up to this size can't exceed any of the three limits.
        self._small_head = min(head_bytes_max, target_bytes_max, fields_max * _FIELD_LINE_BYTES_MIN)
        self._last_host: bytes | None = None
        self._head_max = head_bytes_max
        self._target_max = target_bytes_max
        self._fields_max = fields_max
        self._buffer = b""
        self._position = 0
        self._scanned = 0
        self._left = 0
        self._chunked: chunked.ChunkedDecoder | None = None
        self._parts: list[bytes] = []
        self._nominated: tuple[bytes, ...] = ()
        self._error: RequestError | None = None
        self.body_bytes = 0
        self.trailers = b""

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        if self._position >= len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._position :] + data
        self._position = 0

    @property
    def has_more(self) -> bool:
        """Whether something was fed and not yet asked for."""
        return self._position < len(self._buffer)

    @property
    def buffered_bytes(self) -> int:
        """What was fed and not yet asked for."""
        return len(self._buffer) - self._position

    def take_rest(self) -> bytes:
        """Return what was fed and not parsed, and forget it: after an upgrade it belongs to another protocol."""
        rest = self._buffer[self._position :]
        self._buffer = b""
        self._position = 0
        return rest

    def compact(self) -> None:
        """Let go of what was parsed already; worth it where much of a large read was."""
        if self._position:
            self._buffer = self._buffer[self._position :]
            self._position = 0

    def read_head(self) -> Request | None:
        """Return the next request, or None until its head is complete.  Raises RequestError."""
        buffer, position = self._buffer, self._position
        if position >= len(buffer):
            if self._error is not None:
                raise self._error
            return None
        if not self._scanned:
            match = _match_common_head(buffer, position)
            if match is not None:
                end = match.end()
                method, host, digits = match.groups()
                request = Request(method, buffer[position : end - 2])
                self._position = end
                if end - position > self._small_head:
                    self._check_sizes(request)
                if host != self._last_host:
                    # A client names the same host again and again: it is validated once.
                    if HOST.match(host) is None:
                        self._fail(RequestError(400, "malformed Host field (RFC 9112 §3.2)"))
                    self._last_host = host
                request.host = host
                if digits is None:
                    self._left = 0
                else:
                    request.content_length = self._left = int(digits)
                self._chunked = None
                self.body_bytes = 0
                self.trailers = b""
                return request
        return self._read_uncommon_head()

    def _read_uncommon_head(self) -> Request | None:
        if self._error is not None:
            raise self._error
        while self._buffer.startswith(b"\r\n", self._position):  # RFC 9112 §2.2: empty lines before a request line
            self._position += 2
            self._scanned = 0
        buffer, position = self._buffer, self._position
        end = buffer.find(b"\r\n\r\n", position + max(0, self._scanned - 3))
        if end < 0:
            scanned, self._scanned = self._scanned, len(buffer) - position
            self._refuse_hopeless_head(scanned)
            return None
        self._scanned = 0
        match = REQUEST_HEAD.match(buffer, position)
        if match is None or match.end() != end + 4:
            self._fail(self._diagnose(buffer[position : end + 2]))
        method, target, minor, _ = match.groups()
        request = Request(method, buffer[position : end + 2])
        if minor == b"0":
            request.version_minor = 0
            request.keep_alive = False
            request.plain = False
        self._position = end + 4
        self._check_sizes(request)
        self._steer(request)
        if request.version_minor == 0 or not target.startswith(b"/") or method in _NO_METHODS:
            self._normalise_target(request, target)
        if method in _BOUNDED_METHODS:
            try:
                request.lines = count_forwards(request.lines)
            except RequestError as error:
                self._fail(error)
        return request

    def _check_sizes(self, request: Request) -> None:
        line_end = request.lines.index(b"\r\n")
        if line_end > self._target_max + len(request.method) + 10:
            self._fail(RequestError(414, f"request target longer than {self._target_max} bytes", "target_bytes_max"))
        if len(request.lines) + 2 > self._head_max:
            self._fail(RequestError(431, f"request head larger than {self._head_max} bytes", "head_bytes_max"))
        if request.lines.count(b"\n") - 1 > self._fields_max:
            self._fail(RequestError(431, f"more than {self._fields_max} field lines", "fields_max"))

    def _steer(self, request: Request) -> None:
        """Look at the fields that decide framing and connection handling; refuse what is ambiguous."""
        connection = b""
        for name, value in _find_steering(request.lines.lower()):
            if name == b"host":
                if request.host is not None:
                    self._fail(RequestError(400, "more than one Host field (RFC 9112 §3.2)"))
                request.host = _find_host(request.lines)[0].rstrip()
                if HOST.match(request.host) is None:
                    self._fail(RequestError(400, "malformed Host field (RFC 9112 §3.2)"))
            elif name == b"content-length":
                digits = value.rstrip()
                if request.content_length >= 0:
                    self._fail(RequestError(400, "more than one Content-Length field (RFC 9112 §6.3)"))
                if not digits.isdigit() or len(digits) > _CONTENT_LENGTH_DIGITS_MAX:
                    self._fail(RequestError(400, "malformed Content-Length (RFC 9110 §8.6)"))
                request.content_length = int(digits)
            elif name == b"connection":
                connection = connection + b"," + value
                request.plain = False
            elif name == b"transfer-encoding":
                self._steer_transfer_encoding(request, value.rstrip())
            elif name == b"expect":
                if value.rstrip() != b"100-continue":
                    self._fail(RequestError(417, "an expectation that is not known (RFC 9110 §10.1.1)"))
                request.expects_continue = request.version_minor == 1
                request.plain = False
            elif name == b"upgrade":
                offered = value.rstrip()
                request.upgrade = offered if request.upgrade is None else b"%b, %b" % (request.upgrade, offered)
                request.plain = False
            elif name == b"x-forwarded-for":
                request.forwarded_for = True
                request.plain = False
            elif name == b"x-forwarded-host":
                request.forwarded_host = True
            elif name == b"x-forwarded-proto":
                request.forwarded_proto = True
            elif b"_" in name:
                self._fail(RequestError(400, "an underscore in the name of a field that steers (RFC 3875 §4.1.18)"))
            elif name != b"via":
                request.plain = False
        if request.host is None and request.version_minor == 1:
            self._fail(RequestError(400, "no Host field (RFC 9112 §3.2)"))
        if request.chunked and request.content_length >= 0:
            self._fail(RequestError(400, "both Transfer-Encoding and Content-Length (RFC 9112 §6.1)"))
        if not request.plain:
            self._steer_connection(request, connection)
        request.lines = write_anew(request.lines, request.content_length, request.host)
        self._nominated = request.nominated
        self._left = max(request.content_length, 0)
        self._chunked = chunked.ChunkedDecoder(self._small_chunks_max) if request.chunked else None
        self.body_bytes = 0
        self.trailers = b""

    def _steer_transfer_encoding(self, request: Request, value: bytes) -> None:
        if request.version_minor == 0:
            self._fail(RequestError(400, "Transfer-Encoding in an HTTP/1.0 request (RFC 9112 §6.1)"))
        if request.chunked:
            self._fail(RequestError(400, "more than one Transfer-Encoding field (RFC 9112 §6.1)"))
        if value != b"chunked":
            if value.endswith(b"chunked") and value.count(b"chunked") == 1:
                self._fail(RequestError(501, "a transfer coding other than chunked (RFC 9112 §6.1)"))
            self._fail(RequestError(400, "chunked is not the final transfer coding (RFC 9112 §6.3)"))
        request.chunked = True
        request.plain = False

    @staticmethod
    def _steer_connection(request: Request, connection: bytes) -> None:
        options = {option.strip(b" \t") for option in connection.split(b",")}
        if b"close" in options:
            request.keep_alive = False
        elif b"keep-alive" in options:
            request.keep_alive = True
        # HTTP/2 by upgrade is refused in an orderly way: the request is served as what it is (RFC 9110 §7.8).
        upgrade = request.upgrade
        if b"upgrade" not in options or request.version_minor == 0 or not upgrade or _H2C.search(upgrade):
            request.upgrade = None
        request.nominated = tuple(sorted(options - {b"", b"close", b"keep-alive", b"upgrade"}))

    def _normalise_target(self, request: Request, target: bytes) -> None:
        """Bring absolute-form to origin-form and HTTP/1.0 to the version that we speak (RFC 9112 §3.2, §2.3)."""
        if request.method == b"CONNECT":
            self._fail(RequestError(501, "CONNECT: this is not a forward proxy (RFC 9110 §9.3.6)"))
        elif request.method == b"PRI":
            self._fail(RequestError(400, "PRI: no method, but the beginning of HTTP/2 (RFC 9113 §3.4, §11.6)"))
        elif target.startswith(b"/") or (target == b"*" and request.method == b"OPTIONS"):
            normal = target
        else:
            match = ABSOLUTE_FORM.match(target)
            # RFC 9110 §4.2.1: an empty host is invalid, with a port or without.
            if match is None or match.group(1)[:1] in (b"", b":") or HOST.match(match.group(1)) is None:
                self._fail(RequestError(400, "malformed request target (RFC 9112 §3.2)"))
            # RFC 9112 §3.2.4: OPTIONS for the server as a whole
            path = match.group(2) or (b"*" if request.method == b"OPTIONS" else b"/")
            normal = b"/" + path if path.startswith(b"?") else path
            # RFC 9112 §3.2.2: the target's authority replaces whatever Host said.
            if request.host is None:
                request.lines += b"Host: %b\r\n" % match.group(1)
            else:
                request.lines = re.sub(rb"(?i)\nhost:[^\r]*", b"\nHost: " + match.group(1), request.lines, count=1)
            request.host = match.group(1)
        rest = request.lines[request.lines.index(b"\r\n") :]
        request.lines = b"%b %b HTTP/1.1%b" % (request.method, normal, rest)

    def read_body(self, bytes_max: int) -> bytes | None:
        """Return the whole content of the current request, or None until it is there.

        Raises RequestError: 413 beyond bytes_max (known from the head where Content-Length says it), 400 for a
        malformed chunked body.
        """
        if self._error is not None:
            raise self._error
        left = self._left
        if left > bytes_max or self.body_bytes > bytes_max:
            self._fail(RequestError(413, f"content larger than {bytes_max} bytes", "body_bytes_max"))
        if self._chunked is None and not self._parts:
            if not left:
                return b""
            start = self._position
            end = start + left
            if len(self._buffer) >= end:
                self._position = end
                self._left = 0
                return self._buffer[start:end]
        piece = self.read_piece()
        while piece is not None:
            self._parts.append(piece)
            if len(self._parts) > _PARTS_MAX + self.body_bytes // _PART_BYTES_MIN:
                # Many small reads: each part costs more than its bytes.
                self._parts = [b"".join(self._parts)]
            if self.body_bytes > bytes_max:
                self._fail(RequestError(413, f"content larger than {bytes_max} bytes", "body_bytes_max"))
            piece = self.read_piece()
        if not self.body_complete:
            return None
        body = b"".join(self._parts)
        self._parts = []
        return body

    def read_piece(self) -> bytes | None:
        """Return the next piece of content of the current request, or None if there is none now."""
        if self._error is not None:
            raise self._error
        if self._chunked is None:
            piece = self._buffer[self._position : self._position + self._left]
            self._position += len(piece)
            self._left -= len(piece)
        else:
            if self._position >= len(self._buffer):
                return None
            try:
                piece = b"".join(self._chunked.feed(self.take_rest()))
            except chunked.SmallChunksError as too_small:
                self._fail(RequestError(400, str(too_small), "small_chunks_max"))
            except chunked.ChunkedError as error:
                self._fail(RequestError(400, str(error)))
            if self._chunked.complete:
                self._buffer = self._chunked.rest
                self.trailers = chunked.without_fields(self._chunked.trailers, self._nominated)
        self.body_bytes += len(piece)
        return piece or None

    @property
    def body_complete(self) -> bool:
        """Whether the current request has been read to its end."""
        return self._chunked.complete if self._chunked is not None else self._left == 0

    def _refuse_hopeless_head(self, scanned: int) -> None:
        """Refuse an incomplete head as soon as it can't become a good one any more.

        Its first `scanned` bytes were looked at before, so that a head that drips in costs linear time.
        """
        buffer, start = self._buffer, self._position
        head_bytes = len(buffer) - start
        if not head_bytes:
            return
        if BARE_LF.search(buffer, start + scanned):
            self._fail(RequestError(400, "a line that ends with a bare LF (RFC 9112 §2.2)"))
        line_end = buffer.find(b"\n", start)
        if line_end >= start + scanned and REQUEST_LINE.fullmatch(buffer, start, line_end - 1) is None:
            self._fail(self._diagnose(buffer[start:]))
        if _FIRST_OF_METHOD.match(buffer, start) is None and (head_bytes > 1 or buffer[start:] != b"\r"):
            self._fail(RequestError(400, "not an HTTP/1.1 request"))
        space = buffer.find(b" ", start)
        target_bytes = (line_end if line_end >= 0 else len(buffer)) - (space + 1) - len(b" HTTP/1.1\r")
        if space >= 0 and target_bytes > self._target_max:
            self._fail(RequestError(414, f"request target longer than {self._target_max} bytes", "target_bytes_max"))
        if head_bytes >= self._head_max:
            self._fail(RequestError(431, f"request head larger than {self._head_max} bytes", "head_bytes_max"))

    @staticmethod
    def _diagnose(head: bytes) -> RequestError:
        """Say which rule a refused head broke."""
        line, _, fields = head.partition(b"\r\n")
        match = REQUEST_LINE.fullmatch(line)
        if match is None:
            return RequestError(400, "malformed request line (RFC 9112 §3)")
        if match.group(3) != b"1" or match.group(4) not in b"01":
            return RequestError(505, "an HTTP version other than 1.0 and 1.1 (RFC 9110 §15.6.6)")
        for field in fields.split(b"\r\n"):
            if field[:1] in (b" ", b"\t"):
                return RequestError(400, "obsolete line folding (RFC 9112 §5.2)")
            if re.match(rb"[^:]*[\t ]:", field):
                return RequestError(400, "white space before a field's colon (RFC 9112 §5.1)")
        return RequestError(400, "malformed field line (RFC 9112 §5)")

    def _fail(self, error: RequestError) -> NoReturn:
        self._error = error
        self._scanned = 1  # off the common path, which doesn't ask whether there was an error
        raise error
