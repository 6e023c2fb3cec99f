"""A recorded body as a person wants to see it: without its transfer and content codings, as text if it is text."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from interceptor.wire.chunked import ChunkedDecoder, ChunkedError

CONTENT_BYTES_MAX = 8 * 1024 * 1024
"""More is not unpacked: a few kilobytes can unpack to gigabytes."""

_FIELD = re.compile(rb"(?m)^([^:\r\n]+):[\t ]*([^\r\n]*?)[\t ]*\r$")
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.:+-]+)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
_BINARY_TYPES = ("image/", "audio/", "video/", "font/", "application/octet-stream", "application/zip")


class Content(NamedTuple):
    """`text` is None for what is no text; `notes` say what was done, and what could not be done."""

    data: bytes
    text: str | None
    notes: list[str]


class RequestLine(NamedTuple):
    """The three parts of a head's first line, as text in which every byte is one character."""

    method: str
    target: str
    protocol: str


def request_line(head: bytes) -> RequestLine:
    """Return the parts of the request line; empty ones where it has fewer."""
    parts = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
    return RequestLine(*[*parts, "", "", ""][:3])


def fields_of(head: bytes) -> list[tuple[str, str]]:
    """Return the fields of a head in order."""
    lines = head.partition(b"\r\n")[2]
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in _FIELD.findall(lines)]


def decode_content(head: bytes, body: bytes) -> Content:
    """Undo the chunked coding, gzip and deflate, and find out whether it is text."""
    fields = {name.lower(): value for name, value in fields_of(head)}
    notes: list[str] = []
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = _dechunk(body, notes)
    for coding in reversed([each.strip().lower() for each in fields.get("content-encoding", "").split(",")]):
        if coding in ("", "identity"):
            continue
        unpacked = _unpack(body, coding, notes)
        if unpacked is None:
            return Content(body, None, notes)
        body = unpacked
    return Content(body, _text(body, fields.get("content-type", "")), notes)


def _dechunk(body: bytes, notes: list[str]) -> bytes:
    decoder = ChunkedDecoder()
    try:
        content = b"".join(decoder.feed(body))
    except ChunkedError as error:
        notes.append(f"the chunked coding is broken: {error}")
        return body
    notes.append("chunked" if decoder.complete else "chunked, incomplete")
    return content


def _unpack(data: bytes, coding: str, notes: list[str]) -> bytes | None:
    if coding not in ("gzip", "x-gzip", "deflate"):
        notes.append(f"{coding} is not unpacked here")
        return None
    window = zlib.MAX_WBITS | 32
    try:
        unpacker = zlib.decompressobj(window)
        try:
            content = unpacker.decompress(data, CONTENT_BYTES_MAX)
        except zlib.error:
            # "deflate" without the zlib header, as some clients send it.
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            content = unpacker.decompress(data, CONTENT_BYTES_MAX)
    except zlib.error as error:
        notes.append(f"{coding} can't be unpacked: {error}")
        return None
    if unpacker.unconsumed_tail:
        notes.append(f"{coding}, unpacked up to {CONTENT_BYTES_MAX} bytes only")
    else:
        notes.append(coding if unpacker.eof else f"{coding}, incomplete")
    return content


def _text(data: bytes, content_type: str) -> str | None:
    if content_type.lower().startswith(_BINARY_TYPES):
        return None
    found = _CHARSET.search(content_type)
    for charset in [found[1]] if found else ["utf-8"]:
        try:
            text = data.decode(charset)
        except (UnicodeError, LookupError):
            return None
        return None if "\0" in text else text
    return None


def printable(text: str) -> str:
    """Return text that can't steer a terminal: control characters are written as \\xNN."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def hexdump(data: bytes, bytes_max: int = 256) -> str:
    """Return the beginning of the data, sixteen bytes a line."""
    lines = []
    for at in range(0, min(len(data), bytes_max), 16):
        row = data[at : min(at + 16, bytes_max)]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {row.hex(' '):<47}  {shown}")
    if len(data) > bytes_max:
        lines.append(f"… {len(data) - bytes_max} more bytes")
    return "\n".join(lines)
