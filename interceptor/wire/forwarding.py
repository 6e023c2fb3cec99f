"""Heads as they are passed on: what ends here is taken out, what a reverse proxy adds is put in.

Connection fields are removed (RFC 9110 §7.6.1), Via is appended to requests (§7.6.3; optional for answers of a gateway,
and left out), X-Forwarded-For/-Host/-Proto as reverse proxies do: the client's address is appended to what an earlier
proxy has said; host and scheme of an earlier proxy are kept.
"""

from __future__ import annotations

import re

from interceptor.wire.request import Request

VIA = b"Via: 1.1 interceptor\r\n"
# RFC 9110 §7.6.3: the version in which the message was received
_VIA_OF_HTTP_1_0 = b"Via: 1.0 interceptor\r\n"

_ENDS_HERE = re.compile(
    rb"(?i)\n(?:connection|keep-alive|proxy-connection|te|upgrade|expect|transfer-encoding|http2-settings):[^\r]*+\r"
)
_FORWARDED_FOR = re.compile(rb"(?i)\nx-forwarded-for:[\t ]*+([^\r]*+)\r")
# Naming these in Connection would let a client strip what framing, routing or the application's trust rests on.
_NEVER_NOMINATED = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"via", b"x-forwarded-for", b"x-forwarded-host",
     b"x-forwarded-proto", b"x-real-ip", b"forwarded", b"cookie", b"authorization"}
)  # fmt: skip


class Forwarder:
    """Writes the heads of one client connection's requests as the target gets them.

    `peer` is the client's address as X-Forwarded-For shows it, `scheme` what it spoke to us, `authority` the target's
    host and port for HTTP/1.0 requests that name none.
    """

    __slots__ = ("_authority", "_forwarded_for", "_forwarded_proto", "_peer", "_proto_and_via", "_tail", "_tail_host")

    def __init__(self, peer: bytes, scheme: bytes, authority: bytes) -> None:
        self._peer = peer
        self._authority = authority
        self._forwarded_for = b"X-Forwarded-For: %b\r\n" % peer
        self._forwarded_proto = b"X-Forwarded-Proto: %b\r\n" % scheme
        self._proto_and_via = b"%b%b\r\n" % (self._forwarded_proto, VIA)
        self._tail_host: bytes | None = None
        self._tail = b""

    def head(self, request: Request) -> bytes:
        """Return the head that the target gets, with the empty line."""
        if request.plain and not (request.forwarded_host or request.forwarded_proto) and request.host is not None:
            if request.host != self._tail_host:
                self._tail_host = request.host
                self._tail = b"%bX-Forwarded-Host: %b\r\n%b" % (
                    self._forwarded_for,
                    request.host,
                    self._proto_and_via,
                )
            return request.lines + self._tail
        return self._uncommon_head(request)

    def upgrade_head(self, request: Request) -> bytes:
        """Return the head of a request that asks to leave HTTP/1.1 (RFC 9110 §7.8): its upgrade is passed on."""
        assert request.upgrade is not None
        head = self._uncommon_head(request)
        return b"%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (head[:-2], original_value(request, b"upgrade"))

    def _uncommon_head(self, request: Request) -> bytes:
        lines = _ENDS_HERE.sub(b"", request.lines)
        for name in request.nominated:
            if name not in _NEVER_NOMINATED:
                lines = re.sub(rb"(?i)\n%b:[^\r]*+\r" % re.escape(name), b"", lines)
        parts = [lines]
        if request.host is None:
            parts.append(b"Host: %b\r\n" % self._authority)
        if request.chunked:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if request.forwarded_for:
            earlier = [value.rstrip() for value in _FORWARDED_FOR.findall(lines)]
            parts[0] = _FORWARDED_FOR.sub(b"", lines)
            parts.append(b"X-Forwarded-For: %b\r\n" % b", ".join([*filter(None, earlier), self._peer]))
        else:
            parts.append(self._forwarded_for)
        if not request.forwarded_host:
            parts.append(b"X-Forwarded-Host: %b\r\n" % (request.host or self._authority))
        if not request.forwarded_proto:
            parts.append(self._forwarded_proto)
        parts.append((VIA if request.version_minor else _VIA_OF_HTTP_1_0) + b"\r\n")
        return b"".join(parts)


def original_value(request: Request, name: bytes) -> bytes:
    """Return the value of the first field `name` with its case as the client wrote it; b"" where there is none."""
    match = re.search(rb"(?i)\n%b:[\t ]*+([^\r]*+)" % re.escape(name), request.lines)
    return match.group(1).rstrip() if match else b""
