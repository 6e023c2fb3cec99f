"""Answers of the target: framing, what ends here, what is refused (RFC 9112 §4, §6.3, §9; RFC 9110 §7.6.1)."""

from __future__ import annotations

import pytest
from wire_reading import HEAD_BYTES_MAX, NEXT_ANSWER, answer_refused, answered, bytewise, read_answers

from interceptor.wire.answer import AnswerReader, Framing
from interceptor.wire.errors import AnswerError

CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def with_fields(status: int, fields: bytes, content: bytes = b"", minor: int = 1) -> bytes:
    return b"HTTP/1.%d %d Reason\r\n%b\r\n%b" % (minor, status, fields, content)


class TestFraming:
    """RFC 9112 §6.3."""

    @pytest.mark.parametrize("fields", [b"", LENGTH, CHUNKED])
    def test_to_head_there_is_no_content(self, fields: bytes) -> None:
        """Rule 1; the fields say what GET would have got (RFC 9110 §9.3.2, RFC 9112 §6.1), and are kept."""
        answer = answered(with_fields(200, fields), to_head_request=True)
        assert (answer.head.framing, answer.head.length, answer.body) == (Framing.LENGTH, 0, b"")
        assert answer.head.head == with_fields(200, fields)
        assert not answer.head.closes

    @pytest.mark.parametrize("to_head_request", [False, True])
    @pytest.mark.parametrize("fields", [b"", LENGTH, CHUNKED])
    @pytest.mark.parametrize("status", [100, 102, 103, 199, 101, 204])
    def test_interim_and_204_have_no_content(self, status: int, fields: bytes, to_head_request: bool) -> None:
        """Rule 1; a framing field does not belong there (RFC 9110 §8.6, RFC 9112 §6.1), and is taken out."""
        answer = answered(with_fields(status, fields), to_head_request)
        assert (answer.body, answer.head.head) == (b"", with_fields(status, b""))
        assert answer.head.interim == (status not in (101, 204))

    @pytest.mark.parametrize("fields", [b"", LENGTH, CHUNKED])
    def test_304_has_no_content(self, fields: bytes) -> None:
        """Rule 1; the fields are kept (RFC 9110 §8.6)."""
        answer = answered(with_fields(304, fields))
        assert (answer.body, answer.head.head) == (b"", with_fields(304, fields))

    @pytest.mark.parametrize("status", [200, 205, 404, 500, 999])
    def test_chunked(self, status: int) -> None:
        """Rule 4."""
        answer = answered(with_fields(status, b"A: b\r\n" + CHUNKED, CHUNKS))
        assert (answer.head.framing, answer.head.length, answer.body) == (Framing.CHUNKED, -1, b"hello")
        assert answer.head.head == with_fields(status, b"A: b\r\n")

    def test_trailers_are_kept(self) -> None:
        """RFC 9112 §7.1.2."""
        assert answered(with_fields(200, CHUNKED, b"0\r\nDigest: x\r\n\r\n")).trailers == b"Digest: x\r\n"

    def test_nominated_trailers_end_here(self) -> None:
        """RFC 9110 §7.6.1: what Connection names is removed from the trailer section too; the next answer is free."""
        data = with_fields(200, b"Connection: X-Gone\r\n" + CHUNKED, b"0\r\nA: b\r\nx-gone: 1\r\nX-Gone-Not: 2\r\n\r\n")
        kept = with_fields(200, CHUNKED, b"0\r\nX-Gone: 3\r\n\r\n")
        answers = read_answers([data + kept])
        assert [answer.trailers for answer in answers.messages] == [b"A: b\r\nX-Gone-Not: 2\r\n", b"X-Gone: 3\r\n"]

    def test_trailers_do_not_outlive_their_answer(self) -> None:
        """RFC 9110 §6.5: they belong to one message."""
        result = read_answers([with_fields(200, CHUNKED, b"0\r\nDigest: x\r\n\r\n") + NEXT_ANSWER])
        assert [answer.trailers for answer in result.messages] == [b"Digest: x\r\n", b""]

    @pytest.mark.parametrize("minor", [0, 1])
    def test_length(self, minor: int) -> None:
        """Rule 6."""
        answer = answered(with_fields(200, LENGTH, b"hello", minor))
        assert (answer.head.framing, answer.head.length, answer.body) == (Framing.LENGTH, 5, b"hello")
        assert answered(with_fields(200, b"content-length: 0\r\n")).body == b""

    @pytest.mark.parametrize("minor", [0, 1])
    def test_close(self, minor: int) -> None:
        """Rule 8: all octets until the connection is closed."""
        answer = answered(with_fields(200, b"", b"hello", minor))
        assert (answer.head.framing, answer.head.closes, answer.body) == (Framing.CLOSE, True, b"hello")

    @pytest.mark.parametrize("data", [with_fields(200, LENGTH, b"hell"), with_fields(200, CHUNKED, CHUNKS[:-1])])
    def test_cut_off(self, data: bytes) -> None:
        """RFC 9112 §8: an incomplete message is not taken for a complete one."""
        for pieces in ([data], bytewise(data)):
            result = read_answers(pieces)
            assert (result.messages, result.refused) == ([], False)
            assert result.unfinished

    def test_interim_answers_precede_the_final_one(self) -> None:
        """RFC 9110 §15.2."""
        result = read_answers([with_fields(100, b"") + with_fields(103, b"Link: x\r\n") + NEXT_ANSWER])
        assert [answer.head.interim for answer in result.messages] == [True, True, False]

    def test_whole_content(self) -> None:
        """Rule 6, as the caller asks for content in one piece."""
        reader = AnswerReader(HEAD_BYTES_MAX)
        reader.feed(with_fields(200, LENGTH, b"hel"))
        assert reader.read_head(False) is not None
        assert reader.read_whole() is None
        reader.feed(b"lo" + NEXT_ANSWER)
        assert reader.read_whole() == b"hello"
        assert reader.take_rest() == NEXT_ANSWER


class TestRefused:
    """RFC 9112 §4 to §6: the client gets 502."""

    @pytest.mark.parametrize(
        "fields",
        [
            LENGTH + LENGTH,
            LENGTH + b"Content-Length: 6\r\n",
            b"Content-Length: 5, 5\r\n",
            b"Content-Length: +5\r\n",
            b"Content-Length: -5\r\n",
            b"Content-Length: 0x5\r\n",
            b"Content-Length:\r\n",
            b"Content-Length: 18446744073709551621\r\n",
            LENGTH + CHUNKED,
            CHUNKED + LENGTH,
            CHUNKED + CHUNKED,
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding: chunked, gzip\r\n",
            b"Transfer-Encoding: identity\r\n",
            b"Transfer-Encoding:\r\n",
        ],
    )
    @pytest.mark.parametrize("status", [200, 304])
    def test_ambiguous_framing(self, fields: bytes, status: int) -> None:
        """RFC 9112 §6.3, rules 3 to 5."""
        answer_refused(with_fields(status, fields, b"hello"))

    def test_transfer_encoding_in_http_1_0(self) -> None:
        """RFC 9112 §6.1."""
        answer_refused(with_fields(200, CHUNKED, CHUNKS, minor=0))

    @pytest.mark.parametrize(
        "line",
        [
            b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK", b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 2x0 OK", b"HTTP/1.1 200OK", b"HTTP/1.1 200\tOK",
            b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 O\rK", b"HTTP/1.1", b"", b"\r\nHTTP/1.1 200 OK", b"ICY 200 OK",
            b"\x15\x03\x01\x00\x02\x02\x46",
        ],
    )  # fmt: skip
    def test_status_line(self, line: bytes) -> None:
        """RFC 9112 §4."""
        answer_refused(line + b"\r\n" + LENGTH + b"\r\nhello")

    @pytest.mark.parametrize(
        "line", [b"A : b", b": b", b" A: b", b"A", b"A: b\r\n c", b"A: \0", b"A: b\rc", b"A: b\nB: c"]
    )
    def test_field_lines(self, line: bytes) -> None:
        """RFC 9112 §2.2, §5; a gateway may refuse obs-fold in answers (§5.2)."""
        answer_refused(with_fields(200, LENGTH + line + b"\r\n", b"hello"))

    @pytest.mark.parametrize("chunks", [b"x\r\n", b"1\r\nab\r\n0\r\n\r\n", b"0\r\nContent-Length: 1\r\n\r\n"])
    def test_chunks(self, chunks: bytes) -> None:
        """RFC 9112 §7.1, RFC 9110 §6.5.1."""
        answer_refused(with_fields(200, CHUNKED, chunks))

    @pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\n", b"HTTP/1.1 200 OK\r\nA: b\n"])
    def test_bare_lf_is_refused_before_the_head_is_complete(self, start: bytes) -> None:
        """RFC 9112 §2.2: there would be no CRLF to wait for."""
        for pieces in ([start], bytewise(start)):
            assert read_answers(pieces).refused

    def test_size_of_head(self) -> None:
        """No section's number: each buffer has a limit, however the bytes were cut."""
        room = HEAD_BYTES_MAX - len(with_fields(204, b"A: \r\n"))
        answered(with_fields(204, b"A: %b\r\n" % (b"a" * room)))
        answer_refused(with_fields(204, b"A: %ba\r\n" % (b"a" * room)))
        assert read_answers([b"HTTP/1.1 200 " + b"a" * HEAD_BYTES_MAX]).refused

    @pytest.mark.parametrize("behind", [b"", NEXT_ANSWER])
    def test_errors_are_sticky(self, behind: bytes) -> None:
        """RFC 9112 §6.3: the connection is given up."""
        reader = AnswerReader(HEAD_BYTES_MAX)
        reader.feed(with_fields(200, LENGTH + LENGTH) + behind)
        for read in (lambda: reader.read_head(False), reader.read_piece, reader.read_whole) * 2:
            with pytest.raises(AnswerError, match="Content-Length"):
                read()
            reader.feed(NEXT_ANSWER)


class TestHopByHop:
    """RFC 9110 §7.6.1, RFC 9112 §9."""

    def test_connection_fields_are_removed_and_nothing_else(self) -> None:
        """RFC 9110 §7.6.1; order, case and duplicates of the others stay byte for byte."""
        kept = b"b: 1\r\nA:  x \r\nB: 2\r\nSet-Cookie: a\r\nset-cookie: b\r\nTrailer: Digest\r\nX-Keep-Alive: 1\r\n"
        gone = (
            b"Connection: Keep-Alive, X-Gone, content-length\r\nconnection: x-gone2\r\nKeep-Alive: timeout=5\r\n"
            b"Proxy-Connection: keep-alive\r\nTE: x\r\nUpgrade: h2\r\nx-gONE: 1\r\nX-Gone2: 1\r\nX-Gone: 2\r\n"
        )
        for fields in (gone + kept, kept + gone):
            answer = answered(with_fields(200, LENGTH + fields, b"hello"))
            assert answer.head.head == with_fields(200, LENGTH + kept)
            assert not answer.head.closes

    @pytest.mark.parametrize(
        ("minor", "fields", "closes"),
        [
            (1, b"", False),
            (1, b"Connection: close\r\n", True),
            (1, b"Connection: x\r\nconnection: Keep-alive, CLOSE\r\n", True),
            (1, b"Keep-Alive: timeout=1\r\n", False),
            (0, b"", True),
            (0, b"Connection: Keep-Alive\r\n", False),
        ],
    )
    def test_persistence(self, minor: int, fields: bytes, closes: bool) -> None:
        """RFC 9112 §9.3, §9.6."""
        answer = answered(with_fields(200, LENGTH + fields, b"hello", minor))
        assert answer.head.closes is closes

    def test_version_is_ours(self) -> None:
        """RFC 9112 §2.3: an intermediary sends its own version."""
        assert answered(with_fields(200, LENGTH, b"hello", minor=0)).head.head == with_fields(200, LENGTH)

    def test_upgrade_is_remembered(self) -> None:
        """RFC 9110 §7.8."""
        answer = answered(with_fields(101, b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n"))
        assert (answer.head.upgrade, answer.head.head) == (b"WebSocket", with_fields(101, b""))

    def test_missing_reason_is_tolerated(self) -> None:
        """RFC 9112 §4: the space is required, the phrase is not; servers leave out both."""
        for line in (b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200 \xe9 a"):
            answer = answered(line + b"\r\n" + LENGTH + b"\r\nhello")
            assert answer.body == b"hello"
            assert answer.head.head == line.ljust(13) + b"\r\n" + LENGTH + b"\r\n"

    def test_upgrade_required_says_to_what(self) -> None:
        """RFC 9110 §15.5.22."""
        answer = answered(with_fields(426, LENGTH + b"Connection: close, Upgrade\r\nUpgrade: TLS/1.0\r\n", b"hello"))
        assert answer.head.head == with_fields(426, LENGTH + b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n")
