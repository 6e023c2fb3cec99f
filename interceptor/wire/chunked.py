"""The chunked transfer coding (RFC 9112 §7.1), decoded as it arrives and written anew.

Chunk extensions are dropped (§7.1.1: a recipient ignores those it does not know, and they are hop-by-hop).
Trailer fields are kept (§7.1.2), except those that RFC 9110 §6.5.1 forbids: what could change framing, routing or
credentials is refused, what describes a content that has passed already is dropped, as a recipient may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from interceptor.wire.grammar import BARE_LF, CHUNK_SIZE_LINE, TRAILER_SECTION

# A size line is 16 digits at most; the rest of the room is for extensions that senders are allowed but never use.
CHUNK_LINE_BYTES_MAX = 256
TRAILER_BYTES_MAX = 16 * 1024

_FORBIDDEN_TRAILER = re.compile(
    rb"(?im)^(?:content[-_]length|transfer[-_]encoding|host|connection|te|upgrade|authorization|cookie|expect"
    rb"|max-forwards|via|x[-_]forwarded[-_][a-z]+|forwarded|keep-alive|proxy-connection|http2-settings):"
)
_TRAILER_TOO_LATE = re.compile(rb"(?im)^(?:trailer|content[-_](?:encoding|type|range)|set-cookie):[^\r]*+\r\n")


class ChunkedError(Exception):
    """The coding is malformed; the caller knows whose message it was."""


class SmallChunksError(ChunkedError):
    """The content comes in more and smaller chunks than is allowed: reading it costs more than sending it."""


# A chunk of so many bytes is not small.
CHUNK_BYTES_USUAL = 16
_ANY_NUMBER = 1 << 60


class ChunkedDecoder:
    """Decodes one chunked body.  `feed` any bytes; `complete` says when the trailer section has ended.

    `trailers` then holds the trailer field lines (each with its CRLF), `rest` what followed the body.
    `small_chunks_max` is how many chunks there may be beyond one for each CHUNK_BYTES_USUAL bytes.
    """

    __slots__ = ("_buffer", "_left", "_scanned", "_small_left", "_state", "complete", "rest", "trailers")

    _SIZE = 0
    _DATA = 1
    _DATA_END = 2
    _TRAILERS = 3

    def __init__(self, small_chunks_max: int = _ANY_NUMBER) -> None:
        self._small_left = small_chunks_max
        self._buffer = b""
        self._left = 0
        self._scanned = 0
        self._state = self._SIZE
        self.complete = False
        self.trailers = b""
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of content that `data` completes.  Raises ChunkedError; the decoder is then unusable."""
        pieces: list[bytes] = []
        buffer = self._buffer + data if self._buffer else data
        position = 0
        end = len(buffer)
        while not self.complete:
            if self._state == self._DATA:
                piece = buffer[position : position + self._left]
                if piece:
                    pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = self._DATA_END
            elif self._state == self._DATA_END:
                if end - position < 2:
                    if buffer[position:end] not in (b"", b"\r"):
                        raise ChunkedError("a chunk does not end with CRLF where its size says")
                    break
                if buffer[position : position + 2] != b"\r\n":
                    raise ChunkedError("a chunk does not end with CRLF where its size says")
                position += 2
                self._state = self._SIZE
            elif self._state == self._SIZE:
                match = CHUNK_SIZE_LINE.match(buffer, position)
                if match is None:
                    self._refuse_bad_size_line(buffer, position)
                    break
                if match.end() - position > CHUNK_LINE_BYTES_MAX:
                    raise ChunkedError(f"a chunk size line longer than {CHUNK_LINE_BYTES_MAX} bytes")
                position = match.end()
                self._left = int(match.group(1), 16)
                self._small_left += self._left // CHUNK_BYTES_USUAL - 1
                if self._small_left < 0:
                    raise SmallChunksError("too many chunks of very few bytes")
                self._state = self._DATA if self._left else self._TRAILERS
            else:
                first_new = position + max(0, self._scanned - 3)
                if not buffer.startswith(b"\r\n", position) and buffer.find(b"\r\n\r\n", first_new) < 0:
                    self._refuse_bad_trailers(buffer, position)
                    break
                match = TRAILER_SECTION.match(buffer, position)
                if match is None:
                    raise ChunkedError("malformed trailer section (RFC 9112 §7.1.2)")
                if match.end() - position > TRAILER_BYTES_MAX:
                    raise ChunkedError(f"trailer section larger than {TRAILER_BYTES_MAX} bytes")
                self.trailers = match.group(1)
                if self.trailers:
                    if _FORBIDDEN_TRAILER.search(self.trailers):
                        raise ChunkedError("a trailer field that steers framing or routing (RFC 9110 §6.5.1)")
                    self.trailers = _TRAILER_TOO_LATE.sub(b"", self.trailers)
                position = match.end()
                self.complete = True
        if self.complete:
            self.rest = buffer[position:]
            self._buffer = b""
        else:
            self._buffer = buffer[position:]
        return pieces

    @staticmethod
    def _refuse_bad_size_line(buffer: bytes, position: int) -> None:
        line_end = buffer.find(b"\n", position)
        if line_end >= 0 or len(buffer) - position >= CHUNK_LINE_BYTES_MAX:
            raise ChunkedError("malformed chunk size line (RFC 9112 §7.1)")
        first = buffer[position : position + 1]
        if first and first not in b"0123456789abcdefABCDEF":
            raise ChunkedError("a chunk size that is not hexadecimal (RFC 9112 §7.1)")

    def _refuse_bad_trailers(self, buffer: bytes, position: int) -> None:
        if BARE_LF.search(buffer, position + self._scanned):
            raise ChunkedError("malformed trailer section (RFC 9112 §7.1.2)")
        if len(buffer) - position >= TRAILER_BYTES_MAX:
            raise ChunkedError(f"trailer section larger than {TRAILER_BYTES_MAX} bytes")
        self._scanned = len(buffer) - position


def without_fields(trailers: bytes, names: Iterable[bytes]) -> bytes:
    """Return the trailer field lines without those that Connection has nominated (RFC 9110 §7.6.1)."""
    if trailers:
        for name in names:
            trailers = re.sub(rb"(?im)^%b:[^\r]*+\r\n" % re.escape(name), b"", trailers)
    return trailers


def encode_whole(body: bytes, trailers: bytes) -> bytes:
    """Return body and trailer field lines as one chunk and the last chunk."""
    if body:
        return b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)
    return b"0\r\n%b\r\n" % trailers


def encode_piece(piece: bytes) -> bytes:
    """Return one non-empty piece of content as a chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
