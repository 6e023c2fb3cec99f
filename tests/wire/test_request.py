"""Request heads: what is accepted, what is refused, by which section (RFC 9112 §2 to §6, RFC 9110 §7)."""

from __future__ import annotations

import pytest
from wire_reading import accepted, read_requests, refused, with_fields


def framed(*lines: bytes) -> bytes:
    """A request whose framing is the question; "hello" follows it."""
    return with_fields(*lines, body=b"hello")


class TestContentLength:
    """RFC 9110 §8.6, RFC 9112 §6.2 and §6.3."""

    @pytest.mark.parametrize(
        "field", [b"Content-Length: 5", b"content-length:5", b"CONTENT-LENGTH: \t 5 \t", b"Content-Length: 0005"]
    )
    def test_one_valid_length_delimits_the_content(self, field: bytes) -> None:
        """RFC 9112 §6.2; 1*DIGIT allows leading zeros, OWS surrounds a value (RFC 9110 §5.5)."""
        message = accepted(framed(field))
        assert message.body == b"hello"
        assert message.head.content_length == 5
        assert message.head.has_body

    def test_zero_and_absent_mean_no_content(self) -> None:
        """RFC 9112 §6.3, rule 7."""
        assert not accepted(with_fields(b"Content-Length: 0")).head.has_body
        assert accepted(with_fields()).head.content_length == -1

    @pytest.mark.parametrize(
        "lines",
        [
            pytest.param((b"Content-Length: 5", b"Content-Length: 6"), id="conflicting"),
            pytest.param((b"Content-Length: 5", b"Content-Length: 5"), id="repeated"),
            pytest.param((b"Content-Length: 5", b"content-length: 5"), id="repeated-in-other-case"),
            pytest.param((b"Content-Length: 5, 5",), id="list"),
            pytest.param((b"Content-Length: 5, 6",), id="conflicting-list"),
            pytest.param((b"Content-Length: +5",), id="plus"),
            pytest.param((b"Content-Length: -5",), id="minus"),
            pytest.param((b"Content-Length: 0x5",), id="hexadecimal"),
            pytest.param((b"Content-Length: 5_0",), id="underscore"),
            pytest.param((b"Content-Length: 5 0",), id="inner-space"),
            pytest.param((b"Content-Length: 5.0",), id="fraction"),
            pytest.param((b"Content-Length: 1e1",), id="exponent"),
            pytest.param((b"Content-Length: \xb2",), id="not-ascii-digit"),
            pytest.param((b"Content-Length: \x0b5",), id="padded-with-vertical-tab"),
            pytest.param((b"Content-Length:",), id="empty"),
            pytest.param((b"Content-Length: 1" + b"0" * 18,), id="19-digits"),
            pytest.param((b"Content-Length: 18446744073709551621",), id="overflows-to-5"),
        ],
    )
    def test_ambiguous_or_malformed_length_is_refused(self, lines: tuple[bytes, ...]) -> None:
        """RFC 9112 §6.3, rule 5: an unrecoverable error, 400 and close; RFC 9110 §8.6: no overflow."""
        assert refused(framed(*lines)) == 400


class TestTransferEncoding:
    """RFC 9112 §6.1 and §6.3."""

    @pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"\tchunked "])
    def test_one_final_chunked_is_decoded(self, value: bytes) -> None:
        """RFC 9112 §6.1; coding names are case-insensitive (§7)."""
        message = accepted(with_fields(b"Transfer-Encoding: " + value, body=b"5\r\nhello\r\n0\r\n\r\n"))
        assert (message.body, message.head.chunked, message.head.content_length) == (b"hello", True, -1)

    @pytest.mark.parametrize(
        ("value", "status"),
        [
            (b"gzip, chunked", 501),
            (b"xchunked", 501),
            (b"chunked, gzip", 400),
            (b"chunked, chunked", 400),
            (b"chunked, identity", 400),
            (b"identity", 400),
            (b"gzip", 400),
            (b"chunked;q=1", 400),
            (b"\x0bchunked", 400),
            (b'"chunked"', 400),
            (b"", 400),
            (b",chunked,", 400),
        ],
    )
    def test_anything_but_one_final_chunked_is_refused(self, value: bytes, status: int) -> None:
        """RFC 9112 §6.1: 501 for a coding that is not understood; §6.3, rule 4: 400 where chunked is not final."""
        assert refused(with_fields(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n")) == status

    def test_repeated_field_is_refused(self) -> None:
        """RFC 9112 §6.1: chunked must not be applied more than once."""
        assert refused(with_fields(*[b"Transfer-Encoding: chunked"] * 2, body=b"0\r\n\r\n")) == 400

    @pytest.mark.parametrize("order", [1, -1])
    def test_both_framings_are_refused(self, order: int) -> None:
        """RFC 9112 §6.1, §6.3, rule 3: ought to be handled as an error (request smuggling, §11.2)."""
        lines = [b"Content-Length: 5", b"Transfer-Encoding: chunked"][::order]
        assert refused(with_fields(*lines, body=b"0\r\n\r\n")) == 400

    def test_in_http_1_0_it_is_refused(self) -> None:
        """RFC 9112 §6.1: the framing of such a message is faulty."""
        data = with_fields(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0", body=b"0\r\n\r\n")
        assert refused(data) == 400


class TestFieldLines:
    """RFC 9112 §2.2 and §5, RFC 9110 §5."""

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            pytest.param(b"X: a\rb", "field line", id="bare-cr"),
            pytest.param(b"X: a\r", "", id="doubled-cr"),
            pytest.param(b"X: a\nY: b", "", id="bare-lf"),
            pytest.param(b"X: a\0b", "field line", id="nul-in-value"),
            pytest.param(b"X\0: a", "field line", id="nul-in-name"),
            pytest.param(b"X: a\x7f", "field line", id="delete"),
            pytest.param(b"X: a\x0b", "field line", id="vertical-tab"),
            pytest.param(b"X: a\r\n folded", "folding", id="obs-fold"),
            pytest.param(b"X: a\r\n\tfolded", "folding", id="obs-fold-tab"),
            pytest.param(b" X: a", "folding", id="space-before-name"),
            pytest.param(b"X : a", "colon", id="space-before-colon"),
            pytest.param(b"X\t: a", "colon", id="tab-before-colon"),
            pytest.param(b": a", "field line", id="empty-name"),
            pytest.param(b"no colon", "field line", id="no-colon"),
            pytest.param(b"X(y): a", "field line", id="not-a-token"),
            pytest.param(b"X\xe9: a", "field line", id="name-not-ascii"),
        ],
    )
    @pytest.mark.parametrize("first", [True, False])
    def test_malformed_line_is_refused(self, line: bytes, reason: str, first: bool) -> None:
        """RFC 9112 §2.2 (bare CR, LF), §5.1 (no space before the colon), §5.2 (obs-fold); RFC 9110 §5.1, §5.5."""
        data = with_fields(line, host=b"") if first else with_fields(b"A: b", line)
        assert refused(data, reason) == 400

    @pytest.mark.parametrize(
        "line",
        [b"Content_Length: 1", b"content_length: 0", b"Transfer_Encoding: chunked", b"X_Forwarded_For: ::1",
         b"X-Forwarded_Proto: https", b"x_forwarded-host: b"],
    )  # fmt: skip
    def test_underscored_twin_of_a_steering_field_is_refused(self, line: bytes) -> None:
        """RFC 3875 §4.1.18: CGI and WSGI make one variable of both names."""
        assert refused(with_fields(line)) == 400
        assert refused(with_fields(line, start=b"GET / HTTP/1.1")) == 400

    def test_other_underscores_are_nobodys_concern(self) -> None:
        data = with_fields(b"X_Id: 1", b"Content_Type: a/b", b"X_Forwarded: 1")
        assert accepted(data).head.lines == data[:-2]

    def test_values_are_kept_as_they_came(self) -> None:
        """RFC 9110 §5.5: VCHAR, obs-text, SP and HTAB; the lines stay byte for byte."""
        data = with_fields(b"X:", b"x:  a\tb ", b"X: \xe9\xff", b'!#$%&\'*+-.^_`|~0: "quoted"')
        assert accepted(data).head.lines == data[:-2]


class TestRequestLine:
    """RFC 9112 §2.3 and §3."""

    @pytest.mark.parametrize(
        ("line", "status"),
        [
            (b"G(T / HTTP/1.1", 400),
            (b"G\xe9T / HTTP/1.1", 400),
            (b" GET / HTTP/1.1", 400),
            (b"\rGET / HTTP/1.1", 400),
            (b"GET  / HTTP/1.1", 400),
            (b"GET /  HTTP/1.1", 400),
            (b"GET\t/ HTTP/1.1", 400),
            (b"GET / HTTP/1.1 ", 400),
            (b"GET / b HTTP/1.1", 400),
            (b"GET /\0 HTTP/1.1", 400),
            (b"GET /a#b HTTP/1.1", 400),
            (b"GET /\xc3\xa9 HTTP/1.1", 400),
            (b"GET / http/1.1", 400),
            (b"GET / HTTP/1.10", 400),
            (b"GET / HTTP/11", 400),
            (b"GET / HTTP/1,1", 400),
            (b"GET /", 400),
            (b"GET", 400),
            (b"GET / HTTP/0.9", 505),
            (b"GET / HTTP/1.2", 505),
            (b"GET / HTTP/2.0", 505),
            (b"GET / HTTP/3.0", 505),
        ],
    )
    def test_malformed_line_or_other_version_is_refused(self, line: bytes, status: int) -> None:
        """RFC 9112 §3 (400), RFC 9110 §15.6.6 (505)."""
        assert refused(with_fields(start=line)) == status

    def test_http2_preface_is_told_its_version(self) -> None:
        """RFC 9113 §3.4: the preface is a request line of HTTP/2.0; RFC 9110 §15.6.6."""
        assert refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == 505

    def test_tls_client_hello_is_refused_at_its_first_byte(self) -> None:
        """RFC 8446 §5.1: record type 22; not a token (RFC 9110 §9.1)."""
        assert refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") == 400
        assert read_requests([b"\x16"]).status == 400

    def test_empty_lines_before_it_are_ignored(self) -> None:
        """RFC 9112 §2.2."""
        assert accepted(b"\r\n\r\n\r\n" + with_fields(start=b"GET /x HTTP/1.1")).head.target == b"/x"

    @pytest.mark.parametrize("start", [b"\n", b"\r\r\n", b"\r\n\n", b"\r\n\rG"])
    def test_empty_lines_end_with_crlf(self, start: bytes) -> None:
        """RFC 9112 §2.2: only CRLF is ignored."""
        assert refused(start + with_fields()) == 400

    @pytest.mark.parametrize("method", [b"GET", b"get", b"M-SEARCH", b"!#$%&'*+-.^_`|~09", b"M" * 700])
    def test_any_token_is_a_method(self, method: bytes) -> None:
        """RFC 9110 §9.1: a case-sensitive token, of no length in particular."""
        assert accepted(with_fields(start=method + b" / HTTP/1.1")).head.method == method


class TestTarget:
    """RFC 9112 §3.2."""

    @pytest.mark.parametrize("target", [b"/", b"/a?b=c", b"//a/../b", b"/%00", b"/:*", b"/|{}^"])
    def test_origin_form_is_kept(self, target: bytes) -> None:
        """RFC 9112 §3.2.1; printable ASCII that RFC 3986 would escape is tolerated, as servers do."""
        assert accepted(with_fields(start=b"GET %b HTTP/1.1" % target)).head.target == target

    @pytest.mark.parametrize(
        ("absolute", "authority", "target"),
        [
            (b"http://other:81/x?y", b"other:81", b"/x?y"),
            (b"HTTPS://Other", b"Other", b"/"),
            (b"http://other?q=/", b"other", b"/?q=/"),
            (b"http://[::1]:80/", b"[::1]:80", b"/"),
        ],
    )
    def test_absolute_form_replaces_host(self, absolute: bytes, authority: bytes, target: bytes) -> None:
        """RFC 9112 §3.2.2: Host is generated from the target's authority."""
        head = accepted(with_fields(b"A: b", start=b"GET %b HTTP/1.1" % absolute)).head
        assert head.lines == b"GET %b HTTP/1.1\r\nHost: %b\r\nA: b\r\n" % (target, authority)
        assert head.host == authority

    def test_absolute_form_gives_http_1_0_its_host(self) -> None:
        """RFC 9112 §3.2.2, with no Host to replace."""
        head = accepted(b"GET http://other/x HTTP/1.0\r\nA: b\r\n\r\n").head
        assert head.lines == b"GET /x HTTP/1.1\r\nA: b\r\nHost: other\r\n"

    @pytest.mark.parametrize("target", [b"*", b"http://a"])
    def test_asterisk_form_is_for_options(self, target: bytes) -> None:
        """RFC 9112 §3.2.4; an absolute form without path and query means the same."""
        assert accepted(with_fields(start=b"OPTIONS %b HTTP/1.1" % target)).head.target == b"*"
        assert refused(with_fields(start=b"GET * HTTP/1.1")) == 400

    @pytest.mark.parametrize("target", [b"a:80", b"/", b"http://a/", b"*"])
    def test_connect_is_refused_in_any_form(self, target: bytes) -> None:
        """RFC 9112 §3.2.3, RFC 9110 §9.3.6: an answer to it would be framed otherwise (RFC 9112 §6.3, rule 2)."""
        assert refused(with_fields(start=b"CONNECT %b HTTP/1.1" % target)) == 501

    @pytest.mark.parametrize(
        "target",
        [b"a", b"a:80", b"ftp://a/", b"http:/a", b"http:///x", b"http://:80/", b"http://u@a/", b"http://a#f", b"?q"],
    )
    def test_other_forms_are_refused(self, target: bytes) -> None:
        """RFC 9112 §3.2; RFC 9110 §4.2.1 (an empty host), §4.2.4 (userinfo)."""
        assert refused(with_fields(start=b"GET %b HTTP/1.1" % target)) == 400


class TestHost:
    """RFC 9112 §3.2, RFC 9110 §7.2."""

    @pytest.mark.parametrize("host", [b"a", b"A.Example:8080", b"", b"127.0.0.1:", b"[::1]:80", b"a_b", b"%41"])
    def test_valid_host(self, host: bytes) -> None:
        """RFC 9110 §7.2: uri-host [":" port]; empty where the target has no authority."""
        assert accepted(with_fields(host=b"Host: %b\r\n" % host)).head.host == host

    @pytest.mark.parametrize(
        "host",
        [
            b"",
            b"Host: a\r\nHost: a\r\n",
            b"Host: a\r\nhOST: b\r\n",
            *(
                b"Host: %b\r\n" % bad
                for bad in (b"a b", b"u@a", b"a/", b"http://a", b"a:b", b"[::1", b"a\x80", b"a:1:2")
            ),
        ],
    )
    def test_missing_doubled_or_malformed_host_is_refused(self, host: bytes) -> None:
        """RFC 9112 §3.2: 400 for each of the three."""
        assert refused(with_fields(host=host)) == 400

    def test_http_1_0_needs_none(self) -> None:
        """RFC 9112 §3.2 binds HTTP/1.1."""
        head = accepted(b"GET / HTTP/1.0\r\n\r\n").head
        assert (head.host, head.version_minor, head.lines) == (None, 0, b"GET / HTTP/1.1\r\n")
