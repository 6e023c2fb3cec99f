"""The PROXY protocol (HAProxy's specification, sections 2.1 and 2.2): read strictly, in any pieces."""

from __future__ import annotations

import ipaddress
import struct

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptor.wire.proxy_protocol import V1_BYTES_MAX, V2_BYTES_MAX, ProxyHeaderError, ProxyHeaderReader

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes([192, 0, 2, 1, 10, 0, 0, 1]) + struct.pack("!HH", 1234, 80)
V6 = ipaddress.ip_address("2001:db8::1").packed + bytes(16) + struct.pack("!HH", 1234, 80)


def v2(addresses: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses)) + addresses


def checksummed(addresses: bytes) -> bytes:
    plain = v2(addresses + b"\x03\0\x04" + bytes(4))
    return plain[:-4] + google_crc32c.value(plain).to_bytes(4, "big")


GOOD = [
    (b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\r\n", "192.0.2.1"),
    (b"PROXY TCP6 2001:db8::1 ::1 1234 80\r\n", "2001:db8::1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (v2(V4), "192.0.2.1"),
    (v2(V6, 0x21), "2001:db8::1"),
    (v2(V4 + b"\x04\0\x02xx"), "192.0.2.1"),
    (checksummed(V4), "192.0.2.1"),
    (v2(bytes(216), 0x31), None),
    (v2(b"", 0x00), None),
    (v2(V4, 0x11, 0x20), None),
    (v2(b"", 0x00, 0x20), None),
]  # fmt: skip

BAD = [
    b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\0", b"proxy TCP4 192.0.2.1 10.0.0.1 1234 80\r\n", b"PROXY\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\n", b"PROXY  TCP4 192.0.2.1 10.0.0.1 1234 80\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 1234\r\n", b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 80 \r\n",
    b"PROXY TCP4 192.0.2.01 10.0.0.1 1234 80\r\n", b"PROXY TCP4 192.0.2.256 10.0.0.1 1234 80\r\n",
    b"PROXY TCP4 2001:db8::1 ::1 1234 80\r\n", b"PROXY TCP6 192.0.2.1 10.0.0.1 1234 80\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n", b"PROXY TCP4 192.0.2.1 10.0.0.1 01234 80\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 -1 80\r\n", b"PROXY UDP4 192.0.2.1 10.0.0.1 1 80\r\n", b"PROXY UNKNOWNX\r\n",
    b"PROXY UNKNOWN " + V1_BYTES_MAX * b"x", b"PROXY UNKNOWN " + (V1_BYTES_MAX - 15) * b"x" + b"\r\n",
    SIGNATURE[:-1] + b"x", v2(V4, 0x11, 0x11), v2(V4, 0x11, 0x22), v2(V4[:-1]), v2(V4, 0x21), v2(V4, 0x12),
    v2(V4, 0x41), v2(V4 + b"\x04"), v2(V4 + b"\x04\0\x03xx"), v2(V4 + b"\x03\0\x02xx"), v2(V4 + b"\x03\0\x04xxxx"),
    SIGNATURE + struct.pack("!BBH", 0x21, 0x11, V2_BYTES_MAX),
]  # fmt: skip


def feed_byte_by_byte(data: bytes) -> None:
    reader = ProxyHeaderReader()
    for byte in data:
        reader.feed(bytes([byte]))


@pytest.mark.parametrize(("header", "client"), GOOD)
def test_a_header_whole_byte_by_byte_and_with_what_follows(header: bytes, client: str | None) -> None:
    for rest in (b"", b"GET / HTTP/1.1\r\n", SIGNATURE):
        reader = ProxyHeaderReader()
        assert reader.feed(header + rest) == len(header)
        assert (reader.complete, reader.client) == (True, client)
    reader = ProxyHeaderReader()
    for place in range(len(header)):
        assert not reader.complete
        assert reader.feed(header[place : place + 1]) == 1
    assert (reader.complete, reader.client) == (True, client)


@pytest.mark.parametrize("header", BAD)
def test_what_is_no_header_is_refused_in_any_pieces(header: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        ProxyHeaderReader().feed(header + bytes(300))
    with pytest.raises(ProxyHeaderError):
        feed_byte_by_byte(header + bytes(300))


@given(st.binary(max_size=64), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_any_bytes_are_a_header_the_beginning_of_one_or_refused(data: bytes, start: bytes) -> None:
    """Never more is taken than the longest header."""
    reader = ProxyHeaderReader()
    try:
        taken = reader.feed(start + data)
    except ProxyHeaderError:
        return
    assert taken == len(start + data) or reader.complete
