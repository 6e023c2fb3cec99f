"""Heads as the target gets them (RFC 9110 §7.6, RFC 9112 §3.2)."""

from __future__ import annotations

import pytest
from wire_reading import accepted, refused, with_fields

from interceptor.wire.forwarding import VIA, Forwarder

ADDED_FOR = b"X-Forwarded-For: 192.0.2.1\r\n"
ADDED_HOST = b"X-Forwarded-Host: a\r\n"
ADDED_PROTO = b"X-Forwarded-Proto: http\r\n"
# RFC 9110 §7.6.3: the version in which we received it
VIA_1_0 = b"Via: 1.0 interceptor\r\n"
ADDED = ADDED_FOR + ADDED_HOST + ADDED_PROTO + VIA
START = b"POST /p HTTP/1.1\r\nHost: a\r\n"
KEPT = b"b: 1\r\nA:  x \r\nB: 2\r\nb:\r\nAccept: */*\r\nCookie: \xe9\r\nX-TE: 1\r\nTrailer: Digest\r\n"


def forwarder() -> Forwarder:
    return Forwarder(b"192.0.2.1", b"http", b"target:8000")


def forwarded(data: bytes) -> bytes:
    return forwarder().head(accepted(data).head)


def lines(block: bytes) -> list[bytes]:
    return block.split(b"\r\n")[:-1]


class TestOrdinaryFields:
    """RFC 9110 §5.3: order, and with it duplicates and case, are kept."""

    def test_kept_byte_for_byte(self) -> None:
        """RFC 9110 §5.3, §7.7; what we add comes behind."""
        assert forwarded(with_fields(*lines(KEPT))) == START + KEPT + ADDED + b"\r\n"

    @pytest.mark.parametrize("field", [b"Content-Length: 2", b"content-LENGTH:2"])
    def test_content_length_is_kept(self, field: bytes) -> None:
        """RFC 9110 §8.6."""
        data = with_fields(field, body=b"ab")
        assert forwarded(data) == START + field + b"\r\n" + ADDED + b"\r\n"

    @pytest.mark.parametrize("field", [b"Content-Length: 02", b"content-length:\t2 \t"])
    def test_padded_content_length_is_written_anew(self, field: bytes) -> None:
        """RFC 9110 §8.6, RFC 9112 §5.1: valid, but not read alike by everybody; another field's value is no excuse."""
        data = with_fields(b"X: y\tContent-Length: 2", b"X-Length: 2", field, body=b"ab")
        kept = b"X: y\tContent-Length: 2\r\nX-Length: 2\r\n"
        assert forwarded(data) == START + kept + b"Content-Length: 2\r\n" + ADDED + b"\r\n"

    def test_padded_host_is_written_anew(self) -> None:
        """RFC 9112 §3.2, §5.1."""
        start = START.partition(b"\r\n")[0]
        data = start + b"\r\nhOST:\t a \t\r\n\r\n"
        assert forwarded(data) == start + b"\r\nHost: a\r\n" + ADDED + b"\r\n"

    def test_one_forwarder_serves_many_hosts(self) -> None:
        """RFC 9110 §7.2: nothing is remembered from the request before."""
        mine = forwarder()
        for host in (b"a", b"b", b"a"):
            head = mine.head(accepted(with_fields(host=b"Host: %b\r\n" % host)).head)
            assert b"\r\nHost: %b\r\n" % host in head
            assert b"\r\nX-Forwarded-Host: %b\r\n" % host in head


class TestHopByHop:
    """RFC 9110 §7.6.1."""

    GONE = (
        b"Connection: close, X-Gone, te\r\nconnection: x-gone2\r\nKeep-Alive: 5\r\nPROXY-connection: keep-alive\r\n"
        b"TE: trailers\r\nUpgrade: x\r\nExpect: 100-continue\r\nHTTP2-Settings: AAMAAABkAAQ\r\nx-gONE: 1\r\n"
        b"X-Gone2: 1\r\nX-Gone: 2\r\n"
    )

    def test_removed_and_nothing_else(self) -> None:
        for fields in (self.GONE + KEPT, KEPT + self.GONE):
            assert forwarded(with_fields(*lines(fields))) == START + KEPT + ADDED + b"\r\n"

    @pytest.mark.parametrize(
        "name",
        [
            b"Host", b"Content-Length", b"Via", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto",
            b"Cookie", b"Authorization",
        ],
    )  # fmt: skip
    def test_what_others_rely_on_can_not_be_nominated(self, name: bytes) -> None:
        """RFC 9110 §7.6.1: an option must not name a field meant for all recipients of the content."""
        field = name + b": 0"
        data = with_fields(b"Connection: " + name, *([] if name == b"Host" else [field]))
        assert name.lower() in forwarded(data).lower()
        assert (START if name == b"Host" else field) in forwarded(data)

    def test_odd_options_are_harmless(self) -> None:
        """RFC 9110 §7.6.1: what is no field's name removes nothing."""
        data = with_fields(b"Connection: .*, (, A:, b=c, \xe9", b"A: b")
        assert forwarded(data) == START + b"A: b\r\n" + ADDED + b"\r\n"

    def test_chunked_is_kept(self) -> None:
        """RFC 9112 §6.1: it is ours again, since we decode and encode."""
        data = with_fields(b"transfer-encoding:Chunked", b"A: b", body=b"0\r\n\r\n")
        assert forwarded(data) == START + b"A: b\r\nTransfer-Encoding: chunked\r\n" + ADDED + b"\r\n"


class TestAdded:
    """RFC 9110 §7.6.3 and what reverse proxies do."""

    def test_via_is_appended(self) -> None:
        """RFC 9110 §7.6.3: each recipient appends, as a line of its own."""
        assert forwarded(with_fields(b"Via: 1.0 x")) == START + b"Via: 1.0 x\r\n" + ADDED + b"\r\n"

    @pytest.mark.parametrize(
        ("earlier", "value"),
        [
            ((b"X-Forwarded-For: 10.0.0.1",), b"10.0.0.1, 192.0.2.1"),
            ((b"x-forwarded-FOR: 10.0.0.1,10.0.0.2 ",), b"10.0.0.1,10.0.0.2, 192.0.2.1"),
            ((b"X-Forwarded-For: 10.0.0.1", b"A: b", b"X-Forwarded-For: 10.0.0.2"), b"10.0.0.1, 10.0.0.2, 192.0.2.1"),
            ((b"X-Forwarded-For:",), b"192.0.2.1"),
        ],
    )
    def test_forwarded_for_is_appended(self, earlier: tuple[bytes, ...], value: bytes) -> None:
        """RFC 9110 §5.3: combined into one list, in order, ours last."""
        head = forwarded(with_fields(*earlier))
        assert [line for line in lines(head) if line.lower().startswith(b"x-forwarded-for")] == [
            b"X-Forwarded-For: " + value
        ]

    def test_host_and_proto_of_an_earlier_proxy_are_kept(self) -> None:
        host, proto = b"x-forwarded-host: Outer", b"X-Forwarded-Proto: https"
        tail = VIA + b"\r\n"
        assert forwarded(with_fields(host, proto)) == START + host + b"\r\n" + proto + b"\r\n" + ADDED_FOR + tail
        assert forwarded(with_fields(host)) == START + host + b"\r\n" + ADDED_FOR + ADDED_PROTO + tail
        assert forwarded(with_fields(proto)) == START + proto + b"\r\n" + ADDED_FOR + ADDED_HOST + tail

    def test_host_is_added_for_http_1_0(self) -> None:
        """RFC 9112 §3.2: what we send is HTTP/1.1, and needs one."""
        assert forwarded(b"GET / HTTP/1.0\r\n\r\n") == (
            b"GET / HTTP/1.1\r\nHost: target:8000\r\n" + ADDED_FOR
            + b"X-Forwarded-Host: target:8000\r\n" + ADDED_PROTO + VIA_1_0 + b"\r\n"
        )  # fmt: skip

    @pytest.mark.parametrize("host", [b"", b"Host: inner\r\n"])
    def test_absolute_form_names_the_host(self, host: bytes) -> None:
        """RFC 9112 §3.2.2, for HTTP/1.0 as well; exactly one Host leaves."""
        head = forwarded(b"GET http://a/x HTTP/1.0\r\n" + host + b"\r\n")
        assert head == b"GET /x HTTP/1.1\r\nHost: a\r\n" + ADDED_FOR + ADDED_HOST + ADDED_PROTO + VIA_1_0 + b"\r\n"


class TestMaxForwards:
    """RFC 9110 §7.6.2: TRACE and OPTIONS only, counted down, not passed on at 0."""

    @pytest.mark.parametrize("method", [b"TRACE", b"OPTIONS"])
    @pytest.mark.parametrize(("before", "after"), [(b"1", b"0"), (b"10", b"9"), (b"010 ", b"9")])
    def test_counted_down(self, method: bytes, before: bytes, after: bytes) -> None:
        start = b"%b / HTTP/1.1" % method
        head = forwarded(with_fields(b"max-forwards: " + before, start=start))
        assert lines(head)[:3] == [start, b"Host: a", b"Max-Forwards: " + after]

    @pytest.mark.parametrize("start", [b"TRACE / HTTP/1.1", b"OPTIONS / HTTP/1.1", b"OPTIONS * HTTP/1.1"])
    def test_ends_here_at_zero(self, start: bytes) -> None:
        assert refused(with_fields(b"Max-Forwards: 0", start=start)) == 501

    @pytest.mark.parametrize(
        "fields", [(b"Max-Forwards: x",), (b"Max-Forwards:",), (b"Max-Forwards: -1",), (b"Max-Forwards: 1",) * 2]
    )
    def test_malformed_is_refused(self, fields: tuple[bytes, ...]) -> None:
        assert refused(with_fields(*fields, start=b"TRACE / HTTP/1.1")) == 400

    def test_other_methods_do_not_have_it(self) -> None:
        assert forwarded(with_fields(b"Max-Forwards: 0")) == START + b"Max-Forwards: 0\r\n" + ADDED + b"\r\n"


class TestUpgrade:
    """RFC 9110 §7.8: passed on, hop by hop."""

    def test_own_connection_option(self) -> None:
        data = with_fields(b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: x")
        assert forwarder().upgrade_head(accepted(data).head) == (
            START + b"Sec-WebSocket-Key: x\r\n" + ADDED + b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
        )

    def test_ordinary_head_has_none(self) -> None:
        data = with_fields(b"Connection: Upgrade", b"Upgrade: websocket")
        assert forwarded(data) == START + ADDED + b"\r\n"
