"""Connection handling, expectations, limits and errors of requests (RFC 9110 §7.6.1, §7.8, §10.1.1; RFC 9112 §9)."""

from __future__ import annotations

import pytest
from wire_reading import (
    BODY_BYTES_MAX,
    FIELDS_MAX,
    HEAD_BYTES_MAX,
    NEXT_REQUEST,
    TARGET_BYTES_MAX,
    accepted,
    bytewise,
    read_requests,
    refused,
    request_reader,
    with_fields,
)

from interceptor.wire.errors import RequestError

UPGRADE = b"Connection: Upgrade"


class TestConnection:
    """RFC 9112 §9.3, RFC 9110 §7.6.1."""

    @pytest.mark.parametrize(
        ("minor", "lines", "keep_alive"),
        [
            (1, (), True),
            (1, (b"Connection: close",), False),
            (1, (b"Connection: keep-alive, Close",), False),
            (1, (b"Connection: x", b"Connection: close"), False),
            (1, (b"Connection: x-close",), True),
            (0, (), False),
            (0, (b"Connection: Keep-Alive",), True),
            (0, (b"Connection: keep-alive, close",), False),
            (0, (b"Proxy-Connection: keep-alive",), False),
        ],
    )
    def test_persistence(self, minor: int, lines: tuple[bytes, ...], keep_alive: bool) -> None:
        """RFC 9112 §9.3: the table of persistence."""
        data = with_fields(*lines, start=b"GET / HTTP/1.%d" % minor)
        assert accepted(data).head.keep_alive is keep_alive

    def test_options_name_trailers_too(self) -> None:
        """RFC 9110 §7.6.1: removed from the trailer section; the next request is free."""
        fields = (b"Transfer-Encoding: chunked", b"Connection: X-Gone")
        first = with_fields(*fields, body=b"0\r\nA: b\r\nx-gone: 1\r\n\r\n")
        second = with_fields(fields[0], body=b"0\r\nX-Gone: 2\r\n\r\n")
        messages = read_requests([first + second]).messages
        assert [message.trailers for message in messages] == [b"A: b\r\n", b"X-Gone: 2\r\n"]

    def test_options_name_fields(self) -> None:
        """RFC 9110 §7.6.1: options are case-insensitive, a list may be spread over lines and have empty members."""
        data = with_fields(b"Connection: close,, X-A ,\tTE", b"Connection: upgrade, x-b")
        assert accepted(data).head.nominated == (b"te", b"x-a", b"x-b")


class TestUpgrade:
    """RFC 9110 §7.8."""

    def test_with_the_option_it_is_seen(self) -> None:
        assert accepted(with_fields(UPGRADE, b"Upgrade: WebSocket")).head.upgrade == b"websocket"

    @pytest.mark.parametrize("start", [b"GET / HTTP/1.0", b"GET / HTTP/1.1"])
    def test_without_the_option_or_in_http_1_0_it_is_ignored(self, start: bytes) -> None:
        """RFC 9110 §7.8: the option is needed; an Upgrade in HTTP/1.0 must be ignored."""
        option = UPGRADE if start.endswith(b"0") else b"Connection: keep-alive"
        assert accepted(with_fields(option, b"Upgrade: websocket", start=start)).head.upgrade is None

    @pytest.mark.parametrize(
        "lines",
        [
            (b"Upgrade: h2c",),
            (b"Upgrade: H2C",),
            (b"Upgrade: h2c, websocket",),
            (b"Upgrade: websocket,h2c",),
            (b"Upgrade: h2c/1",),
            (b"Upgrade: h2c", b"Upgrade: websocket"),
            (b"Upgrade: websocket", b"Upgrade: h2c"),
            (b"Upgrade:",),
        ],
    )
    def test_h2c_is_ignored(self, lines: tuple[bytes, ...]) -> None:
        """RFC 9110 §7.8: a server may ignore it; RFC 9113 §3.1: h2c is obsolete, and would hide requests from us."""
        data = with_fields(b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQ", *lines)
        assert accepted(data).head.upgrade is None

    def test_likeness_to_h2c_is_not_h2c(self) -> None:
        assert accepted(with_fields(UPGRADE, b"Upgrade: xh2c")).head.upgrade == b"xh2c"


class TestExpect:
    """RFC 9110 §10.1.1."""

    def test_continue_is_expected(self) -> None:
        data = with_fields(b"Expect: 100-Continue", b"Content-Length: 2", body=b"ab")
        assert accepted(data).head.expects_continue

    def test_from_http_1_0_it_is_ignored(self) -> None:
        data = with_fields(b"Expect: 100-continue", start=b"POST / HTTP/1.0")
        assert not accepted(data).head.expects_continue

    @pytest.mark.parametrize("value", [b"", b"200-ok", b"100-continue, x"])
    def test_unknown_expectation(self, value: bytes) -> None:
        assert refused(with_fields(b"Expect: " + value)) == 417

    def test_head_is_read_before_its_content(self) -> None:
        reader = request_reader()
        reader.feed(with_fields(b"Expect: 100-continue", b"Content-Length: 2"))
        head = reader.read_head()
        assert head is not None
        assert head.expects_continue
        assert reader.read_body(10) is None
        reader.feed(b"ab")
        assert reader.read_body(10) == b"ab"


class TestLimits:
    """RFC 9112 §3 (414), RFC 6585 §5 (431), RFC 9110 §15.5.14 (413)."""

    def test_target(self) -> None:
        """RFC 9112 §3: 414."""
        for method in (b"GET", b"M" * 80):
            longest = b"/" + b"a" * (TARGET_BYTES_MAX - 1)
            assert accepted(with_fields(start=method + b" %b HTTP/1.1" % longest)).head.target == longest
            assert refused(with_fields(start=method + b" %ba HTTP/1.1" % longest)) == 414

    def test_head(self) -> None:
        """RFC 6585 §5: 431."""
        room = HEAD_BYTES_MAX - len(with_fields(b"X: "))
        accepted(with_fields(b"X: " + b"a" * room))
        assert refused(with_fields(b"X: " + b"a" * (room + 1))) == 431

    def test_fields(self) -> None:
        """RFC 6585 §5: 431."""
        accepted(with_fields(*[b"a:"] * (FIELDS_MAX - 1)))
        assert refused(with_fields(*[b"a:"] * FIELDS_MAX)) == 431

    @pytest.mark.parametrize("chunked", [False, True])
    def test_content(self, chunked: bool) -> None:
        """RFC 9110 §15.5.14: 413."""
        for length, fits in ((BODY_BYTES_MAX, True), (BODY_BYTES_MAX + 1, False)):
            body = b"x" * length
            field = b"Content-Length: %d" % length
            if chunked:
                body, field = b"%x\r\n%b\r\n0\r\n\r\n" % (length, body), b"Transfer-Encoding: chunked"
            data = with_fields(field, body=body)
            if fits:
                assert len(accepted(data).body) == length
            else:
                assert refused(data) == 413

    def test_content_too_large_is_known_from_the_head(self) -> None:
        """RFC 9110 §15.5.14, before anything of it has come."""
        assert read_requests([with_fields(b"Content-Length: 999999999999999999")]).status == 413


class TestErrors:
    """RFC 9112 §6.3, §11.2: behind a framing error nobody knows where the next message begins."""

    @pytest.mark.parametrize(
        "bad", [with_fields(host=b""), with_fields(start=b"GET /"), b"\x16\x03", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"]
    )
    @pytest.mark.parametrize("behind", [b"", NEXT_REQUEST])
    def test_errors_are_sticky(self, bad: bytes, behind: bytes) -> None:
        reader = request_reader()
        reader.feed(bad + behind)
        with pytest.raises(RequestError) as first:
            reader.read_head()
        for more in (b"", NEXT_REQUEST):
            reader.feed(more)
            for read in (reader.read_head, reader.read_piece, lambda: reader.read_body(BODY_BYTES_MAX)):
                with pytest.raises(RequestError) as again:
                    read()
                assert again.value is first.value

    def test_errors_of_content_are_sticky(self) -> None:
        reader = request_reader()
        reader.feed(with_fields(b"Transfer-Encoding: chunked", body=b"x\r\n") + NEXT_REQUEST)
        assert reader.read_head() is not None
        for read in (lambda: reader.read_body(9), reader.read_head, reader.read_piece):
            with pytest.raises(RequestError, match="chunk size"):
                read()

    def test_messages_before_the_error_are_read(self) -> None:
        result = read_requests([NEXT_REQUEST * 2 + b"\0" + NEXT_REQUEST])
        assert (len(result.messages), result.status) == (2, 400)

    @pytest.mark.parametrize(
        ("start", "status"),
        [
            (b"\0", 400),
            (b"(", 400),
            (b"\rX", 400),
            (b"GET /\r\n", 400),
            (b"GET / HTTP/1.1\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n", 400),
            (b"GET /" + b"a" * (TARGET_BYTES_MAX + 10), 414),
            (b"GET /" + b"a" * TARGET_BYTES_MAX + b" HTTP/1.1\r\nA", 414),
            (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES_MAX, 431),
            (b"M" * HEAD_BYTES_MAX, 431),
        ],
    )
    def test_hopeless_incomplete_head_is_refused_early(self, start: bytes, status: int) -> None:
        """RFC 9112 §2.2, §3: no waiting for an empty line that can't help any more."""
        for pieces in ([start], bytewise(start), bytewise(b"\r\n" + start)):
            assert read_requests(pieces).status == status

    @pytest.mark.parametrize(
        "start",
        [b"", b"\r", b"\r\n\r", b"G", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHost: a\r\n\r"],
    )
    def test_hopeful_incomplete_head_is_waited_for(self, start: bytes) -> None:
        for pieces in ([start], bytewise(start)):
            assert read_requests(pieces).error is None


def test_many_empty_lines_cost_nothing() -> None:
    """RFC 9112 §2.2: they are forgotten as they come."""
    reader = request_reader()
    for _ in range(1000):
        reader.feed(b"\r\n")
        assert reader.read_head() is None
        assert reader.buffered_bytes == 0
