"""The PROXY protocol, versions 1 and 2, read strictly (HAProxy, "The PROXY protocol", sections 2.1 and 2.2).

A balancer in front of us says with the first bytes of a connection who its client is.  `ProxyHeaderReader` is given
what could be read without taking it, and says how much of that is header: what follows belongs to TLS or HTTP and must
be left where it is.
"""

from __future__ import annotations

import ipaddress
import re
import struct

import google_crc32c

# The longest line of version 1, CRLF included (section 2.1).
V1_BYTES_MAX = 107
# Version 2 could say 64 KiB.  Addresses take 216 bytes at most; the rest are extensions, of which nobody needs more.
V2_BYTES_MAX = 4_096

_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD = struct.Struct("!12sBBH")
_TLV_HEAD = struct.Struct("!BH")
_TLV_CRC32C = 0x03
_LOCAL, _PROXY = 0x20, 0x21
# Family and transport, and how many bytes of addresses that means; only streams can be meant here.
_ADDRESS_BYTES = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}
_PORT = rb"(0|[1-9][0-9]{0,4})"
_V1_TCP = re.compile(rb"PROXY TCP([46]) ([0-9a-fA-F:.]{2,39}) ([0-9a-fA-F:.]{2,39}) %b %b\r\n" % (_PORT, _PORT))
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")


class ProxyHeaderError(Exception):
    """What came is no PROXY header; the connection can't be trusted."""


class ProxyHeaderReader:
    """Reads one header.  When `complete`, `client` is the client's address, or None if the header names none."""

    __slots__ = ("_buffer", "client", "complete")

    def __init__(self) -> None:
        self._buffer = b""
        self.client: str | None = None
        self.complete = False

    def feed(self, data: bytes) -> int:
        """Take what follows; return how many of these bytes are header.  Raises ProxyHeaderError."""
        before = len(self._buffer)
        seen = self._buffer + data
        if seen[:12] == _V2_SIGNATURE[: len(seen)]:
            end = self._read_v2(seen)
        elif seen[:6] == b"PROXY "[: len(seen)]:
            end = self._read_v1(seen)
        else:
            raise ProxyHeaderError("the connection does not begin with a PROXY header")
        self._buffer = seen[:end]
        return end - before

    def _read_v1(self, seen: bytes) -> int:
        end = seen.find(b"\n", 0, V1_BYTES_MAX) + 1
        if not end:
            if len(seen) >= V1_BYTES_MAX:
                raise ProxyHeaderError(f"a PROXY line longer than {V1_BYTES_MAX} bytes")
            return len(seen)
        line = seen[:end]
        match = _V1_TCP.fullmatch(line)
        if match is not None:
            version, source, destination, *ports = match.groups()
            kind = ipaddress.IPv4Address if version == b"4" else ipaddress.IPv6Address
            try:
                self.client = str(kind(source.decode()))
                kind(destination.decode())
            except ValueError as error:
                raise ProxyHeaderError(f"a PROXY line with a malformed address: {error}") from error
            if any(int(port) > 65535 for port in ports):
                raise ProxyHeaderError("a PROXY line with a malformed port")
        elif _V1_UNKNOWN.fullmatch(line) is None:
            raise ProxyHeaderError("a malformed PROXY line")
        self.complete = True
        return end

    def _read_v2(self, seen: bytes) -> int:
        if len(seen) < _V2_HEAD.size:
            return len(seen)
        _, command, family, length = _V2_HEAD.unpack_from(seen)
        if command not in (_LOCAL, _PROXY):
            raise ProxyHeaderError(f"a PROXY header with version and command {command:#04x}")
        end: int = _V2_HEAD.size + length
        if end > V2_BYTES_MAX:
            raise ProxyHeaderError(f"a PROXY header longer than {V2_BYTES_MAX} bytes")
        if command == _PROXY and length < _ADDRESS_BYTES.get(family, length + 1):
            raise ProxyHeaderError(f"a PROXY header of {length} bytes with family and transport {family:#04x}")
        if len(seen) < end:
            return len(seen)
        if command == _PROXY and family:
            header = seen[:end]
            self._check_extensions(header, _V2_HEAD.size + _ADDRESS_BYTES[family])
            if family == 0x11:
                self.client = str(ipaddress.IPv4Address(header[16:20]))
            elif family == 0x21:
                self.client = str(ipaddress.IPv6Address(header[16:32]))
        self.complete = True
        return end

    @staticmethod
    def _check_extensions(header: bytes, start: int) -> None:
        """Section 2.2.7: they fill the header exactly, and a checksum that is there has to be right (2.2.4)."""
        while start < len(header):
            if len(header) - start < _TLV_HEAD.size:
                raise ProxyHeaderError("a PROXY header with an extension that is cut off")
            kind, length = _TLV_HEAD.unpack_from(header, start)
            value = start + _TLV_HEAD.size
            start = value + length
            if start > len(header) or (kind == _TLV_CRC32C and length != 4):
                raise ProxyHeaderError("a PROXY header with an extension of a wrong length")
            if kind == _TLV_CRC32C:
                zeroed = header[:value] + bytes(4) + header[start:]
                if google_crc32c.value(zeroed) != int.from_bytes(header[value:start], "big"):
                    raise ProxyHeaderError("a PROXY header with a wrong checksum")
