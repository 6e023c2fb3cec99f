"""The chunked coding, decoded and written (RFC 9112 §7.1)."""

from __future__ import annotations

import pytest
from wire_reading import NEXT_REQUEST, bytewise, read_requests

from interceptor.wire.chunked import (
    CHUNK_LINE_BYTES_MAX,
    TRAILER_BYTES_MAX,
    ChunkedDecoder,
    ChunkedError,
    SmallChunksError,
    encode_piece,
    encode_whole,
)

LAST = b"0\r\n\r\n"


def decode_all(pieces: list[bytes]) -> tuple[bytes, bytes, bytes, bool]:
    """Return content, trailers, what followed, and whether the end was reached."""
    decoder = ChunkedDecoder()
    content: list[bytes] = []
    behind: list[bytes] = []
    for piece in pieces:
        if decoder.complete:
            behind.append(piece)
        else:
            content += decoder.feed(piece)
    return b"".join(content), decoder.trailers, decoder.rest + b"".join(behind), decoder.complete


def decoded(data: bytes) -> tuple[bytes, bytes]:
    """Decode three ways; return content and trailers."""
    whole = decode_all([data])
    content, trailers, rest, complete = whole
    assert complete
    assert rest == b""
    assert decode_all(bytewise(data)) == whole
    assert decode_all([data + NEXT_REQUEST]) == (content, trailers, NEXT_REQUEST, True)
    return content, trailers


def refused(data: bytes) -> None:
    """Have it refused three ways."""
    for pieces in ([data], bytewise(data), [data + NEXT_REQUEST]):
        with pytest.raises(ChunkedError):
            decode_all(pieces)


class TestSizes:
    """RFC 9112 §7.1."""

    @pytest.mark.parametrize(
        ("data", "content"),
        [
            (LAST, b""),
            (b"0000" + LAST, b""),
            (b"5\r\nhello\r\n" + LAST, b"hello"),
            (b"0005\r\nhello\r\n1\r\n!\r\n" + LAST, b"hello!"),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n" + LAST, b"0123456789" * 2),
            (b"4\r\n\r\n\r\n\r\n" + LAST, b"\r\n\r\n"),
            (b"000000000000000f\r\n" + b"x" * 15 + b"\r\n" + LAST, b"x" * 15),
        ],
    )
    def test_hexadecimal_sizes(self, data: bytes, content: bytes) -> None:
        """RFC 9112 §7.1: 1*HEXDIG; content may look like the coding."""
        assert decoded(data) == (content, b"")

    @pytest.mark.parametrize(
        "size",
        [b"", b"g", b"-1", b"+1", b"0x1", b"1_0", b" 1", b"1 1", b"1.", b"\xb2", b"1\0", b"0" * 17, b"f" * 17, b"1\r"],
    )
    def test_malformed_or_huge_size_is_refused(self, size: bytes) -> None:
        """RFC 9112 §7.1: recipients must anticipate very large numbers and prevent overflow."""
        refused(size + b"\r\na\r\n" + LAST)

    def test_hugest_size_costs_nothing(self) -> None:
        """RFC 9112 §7.1: 2**64-1 bytes are announced, and what comes of them is handed out as it comes."""
        assert decode_all([b"ffffffffffffffff\r\nabc", b"d"]) == (b"abcd", b"", b"", False)

    @pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\r\n", b"x\r\n", b"\n\r"])
    @pytest.mark.parametrize("where", [b"1%ba\r\n0\r\n\r\n", b"1\r\na%b0\r\n\r\n", b"1\r\na\r\n0%b\r\n"])
    def test_lines_and_chunks_end_with_crlf(self, where: bytes, end: bytes) -> None:
        """RFC 9112 §7.1, §2.2; a size that says less or more than there is."""
        refused(where % end)

    @pytest.mark.parametrize("part", [b"x", b"\n", b"\rx"])
    def test_bad_end_of_a_chunk_is_refused_at_once(self, part: bytes) -> None:
        """RFC 9112 §7.1."""
        with pytest.raises(ChunkedError):
            ChunkedDecoder().feed(b"1\r\na" + part)


class TestExtensions:
    """RFC 9112 §7.1.1."""

    @pytest.mark.parametrize("extension", [b";a", b";a=b", b' ; a = "b;\\"c" ;d', b";", b"\t;\xe9"])
    def test_dropped(self, extension: bytes) -> None:
        """RFC 9112 §7.1.1: a recipient ignores what it does not recognise."""
        assert decoded(b"1%b\r\na\r\n0%b\r\n\r\n" % (extension, extension)) == (b"a", b"")

    @pytest.mark.parametrize("extension", [b";a\n", b";a\rb", b";\0", b";\x7f"])
    def test_control_characters_are_refused(self, extension: bytes) -> None:
        """RFC 9112 §2.2, RFC 9110 §5.6."""
        refused(b"1%b\r\na\r\n0\r\n\r\n" % extension)

    def test_length_is_limited(self) -> None:
        """RFC 9112 §7.1.1: a server ought to limit the total length of extensions."""
        longest = b";" + b"a" * (CHUNK_LINE_BYTES_MAX - len(b"1;\r\n"))
        assert decoded(b"1%b\r\na\r\n" % longest + LAST) == (b"a", b"")
        refused(b"1%ba\r\na\r\n" % longest + LAST)
        with pytest.raises(ChunkedError):
            ChunkedDecoder().feed(b"1;" + b"a" * CHUNK_LINE_BYTES_MAX)


class TestTrailers:
    """RFC 9112 §7.1.2, RFC 9110 §6.5."""

    def test_kept_as_they_came(self) -> None:
        """RFC 9112 §7.1.2: retained; order, case and duplicates."""
        lines = b"Digest: x\r\nX-b:  1 \r\nx-B:\r\nHosts: a\r\n"
        assert decoded(b"1\r\na\r\n0\r\n" + lines + b"\r\n") == (b"a", lines)

    @pytest.mark.parametrize(
        "name",
        [
            b"Content-Length", b"transfer-encoding", b"HOST", b"Connection", b"TE", b"Upgrade",
            b"Authorization", b"Cookie", b"Expect", b"Max-Forwards", b"Via", b"X-Forwarded-For", b"X-Forwarded-Host",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("first", [b"", b"A: b\r\n"])
    def test_forbidden_ones_are_refused(self, name: bytes, first: bytes) -> None:
        """RFC 9110 §6.5.1: framing, routing, authentication; never merged into the head."""
        refused(b"0\r\n" + first + name + b": 1\r\n\r\n")

    @pytest.mark.parametrize(
        "name",
        [b"Trailer", b"Content-Encoding", b"CONTENT-TYPE", b"Content_Type", b"Content-Range", b"Set-Cookie"],
    )
    def test_what_comes_too_late_is_dropped(self, name: bytes) -> None:
        """RFC 9110 §6.5.1, RFC 9112 §7.1.2: a recipient may discard it; some clients send Content-Type here."""
        late = name + b": text/plain\r\n"
        for before, behind in ((b"", b""), (b"A: b\r\n", b""), (b"A: b\r\n", b"C: d\r\n"), (late, late)):
            kept = b"" if before == late else before + behind
            assert decoded(b"1\r\na\r\n0\r\n" + before + late + behind + b"\r\n") == (b"a", kept)

    @pytest.mark.parametrize(
        "line", [b"A : b", b": b", b"A", b"A: b\r\n c", b"A: \0", b"A: b\rc", b"A: b\nB: c", b"A: b\n"]
    )
    def test_malformed_ones_are_refused(self, line: bytes) -> None:
        """RFC 9112 §5, §2.2."""
        refused(b"0\r\n" + line + b"\r\n\r\n")

    def test_bare_lf_is_refused_early(self) -> None:
        """RFC 9112 §2.2."""
        for pieces in ([b"0\r\nA: b\n"], bytewise(b"0\r\nA: b\n"), [b"0\r\n\n"]):
            with pytest.raises(ChunkedError):
                decode_all(pieces)

    def test_size_is_limited(self) -> None:
        """No section's number: each buffer has a limit, however the bytes were cut."""
        longest = b"A:" + b"b" * (TRAILER_BYTES_MAX - 6) + b"\r\n"
        assert decode_all([b"0\r\n" + longest + b"\r\n"])[3]
        assert decode_all([b"0\r\n" + longest[:-9], longest[-9:], b"\r", b"\n"])[3]
        for pieces in (
            [b"0\r\nA" + longest + b"\r\n"],
            [b"0\r\nA" + longest, b"\r", b"\n"],
            [b"0\r\nA" + longest + b"\r"],
        ):
            with pytest.raises(ChunkedError):
                decode_all(pieces)


class TestEncoding:
    """RFC 9112 §7.1: what we write is what we read."""

    @pytest.mark.parametrize("body", [b"", b"a", b"x" * 300])
    @pytest.mark.parametrize("trailers", [b"", b"A: b\r\n"])
    def test_whole(self, body: bytes, trailers: bytes) -> None:
        assert decoded(encode_whole(body, trailers)) == (body, trailers)

    def test_pieces(self) -> None:
        data = encode_piece(b"abc") + encode_piece(b"d" * 20) + encode_whole(b"", b"")
        assert data.startswith(b"3\r\nabc\r\n14\r\n")
        assert decoded(data) == (b"abc" + b"d" * 20, b"")


class TestSmallChunks:
    """Each chunk costs the reader more than its sender: so many small ones are read, not any number."""

    def test_so_many_are_read(self) -> None:
        decoder = ChunkedDecoder(small_chunks_max=100)
        assert decoder.feed(100 * b"1\r\nx\r\n") == 100 * [b"x"]
        with pytest.raises(SmallChunksError):
            decoder.feed(b"1\r\nx\r\n")

    def test_usual_ones_are_no_matter(self) -> None:
        decoder = ChunkedDecoder(small_chunks_max=1)
        assert len(decoder.feed(1000 * (b"10\r\n" + 16 * b"x" + b"\r\n"))) == 1000

    def test_answers_have_no_such_limit(self) -> None:
        assert len(ChunkedDecoder().feed(20_000 * b"1\r\nx\r\n")) == 20_000

    def test_a_request_is_refused_for_them(self) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        found = read_requests([head + 8_193 * b"1\r\nx\r\n"])
        assert found.status == 400
        assert found.error is not None
        assert found.error.limit == "small_chunks_max"

    def test_many_small_reads_of_a_content_are_joined(self) -> None:
        """Each part costs more than its bytes; what is read stays the same."""
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"
        content = bytes(range(200)) * 10
        (request,) = read_requests([head, *(content[place : place + 1] for place in range(2000))]).messages
        assert request.body == content
