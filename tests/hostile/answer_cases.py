"""What a target may say that is no answer, or one that is read in two ways, and some that only look like it."""

from __future__ import annotations

from dataclasses import dataclass

RFC_LENGTH = "RFC 9112 §6.3"
RFC_CODING = "RFC 9112 §6.1"
RFC_CHUNKS = "RFC 9112 §7.1"
RFC_LINE = "RFC 9112 §4"
RFC_FIELDS = "RFC 9112 §5"
LLHTTP = "llhttp test/response"
H11 = "h11 tests"
HAPROXY = "HAProxy reg-tests"
OK = b"HTTP/1.1 200 OK"
LENGTH = b"Content-Length: 5"
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


@dataclass(frozen=True)
class AnswerCase:
    """`data` is what the target sends, and then waits; `content` is what the client reads, None if it reads 502.

    CUT says that the head has left already, so that only the connection's end can tell the client.
    """

    name: str
    origin: str
    data: bytes
    content: bytes | None = None


CUT = b"(cut)"


def _answer(
    name: str, origin: str, *fields: bytes, line: bytes = OK, body: bytes = b"hello", content: bytes | None = None
) -> AnswerCase:
    return AnswerCase(name, origin, b"\r\n".join([line, *fields]) + b"\r\n\r\n" + body, content)


ANSWERS = [
    _answer("ordinary", RFC_LINE, LENGTH, content=b"hello"),
    _answer("chunked", RFC_CHUNKS, CHUNKED, body=CHUNKS, content=b"hello"),
    _answer("two lengths that differ", RFC_LENGTH, LENGTH, b"Content-Length: 6"),
    _answer("two lengths that agree", RFC_LENGTH, LENGTH, LENGTH),
    _answer("list of lengths", RFC_LENGTH, b"Content-Length: 5, 5"),
    _answer("signed length", RFC_LENGTH, b"Content-Length: +5"),
    _answer("negative length", RFC_LENGTH, b"Content-Length: -5"),
    _answer("hexadecimal length", RFC_LENGTH, b"Content-Length: 0x5"),
    _answer("empty length", RFC_LENGTH, b"Content-Length:"),
    _answer("length beyond 64 bits", RFC_LENGTH, b"Content-Length: 18446744073709551621"),
    _answer("both framings", RFC_LENGTH, LENGTH, CHUNKED, body=CHUNKS),
    _answer("both framings, coding first", RFC_LENGTH, CHUNKED, LENGTH, body=CHUNKS),
    _answer("chunked twice", RFC_CODING, CHUNKED, CHUNKED, body=CHUNKS),
    _answer("chunked, then identity", LLHTTP + "/transfer-encoding", CHUNKED, b"Transfer-Encoding: identity"),
    _answer("chunked, deflate", LLHTTP + "/transfer-encoding", b"Transfer-Encoding: chunked, deflate", body=b"World"),
    _answer("chunkedchunked", LLHTTP + "/transfer-encoding", b"Transfer-Encoding: chunkedchunked", body=CHUNKS),
    _answer("chunked, gzip, chunked", HAPROXY, b"Transfer-Encoding: chunked, gzip, chunked", body=CHUNKS),
    _answer("gzip alone", HAPROXY, b"Transfer-Encoding: gzip", body=CHUNKS),
    _answer("gzip, chunked", RFC_CODING, b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
    _answer("identity", RFC_CODING, b"Transfer-Encoding: identity"),
    _answer("empty coding beside a length", LLHTTP + "/transfer-encoding", b"Transfer-Encoding:", LENGTH),
    _answer("coding with vertical tab", RFC_CODING, b"Transfer-Encoding: \x0bchunked", body=CHUNKS),
    _answer("coding in HTTP/1.0", RFC_CODING, CHUNKED, line=b"HTTP/1.0 200 OK", body=CHUNKS),
    _answer("chunk size with 0x", RFC_CHUNKS, CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n", content=CUT),
    _answer("chunk size behind nothing", RFC_CHUNKS, CHUNKED, body=b"\r\nhello\r\n0\r\n\r\n", content=CUT),
    _answer("chunk size beyond 64 bits", RFC_CHUNKS, CHUNKED, body=b"1" + b"0" * 16 + b"\r\nhello\r\n", content=CUT),
    _answer("chunk line with bare LF", RFC_CHUNKS, CHUNKED, body=b"5\nhello\r\n0\r\n\r\n", content=CUT),
    _answer("chunk without its end", RFC_CHUNKS, CHUNKED, body=b"5\r\nhelloxx0\r\n\r\n", content=CUT),
    _answer("no semicolon before an extension", LLHTTP + "/transfer-encoding", CHUNKED,
            body=b"2 erfr\r\naa\r\n0 rrrr\r\n\r\n", content=CUT),
    _answer("extensions", LLHTTP + "/transfer-encoding", CHUNKED, body=b'5;a;b="c; d"\r\nhello\r\n0;e\r\n\r\n',
            content=b"hello"),
    _answer("spaces behind a size", LLHTTP + "/transfer-encoding", CHUNKED, body=b"5  \r\nhello\r\n0 \r\n\r\n",
            content=b"hello"),
    _answer("trailer Content-Length", "RFC 9110 §6.5.1", CHUNKED, body=b"0\r\nContent-Length: 5\r\n\r\n", content=CUT),
    _answer("trailer Set-Cookie", "Netty HttpResponseDecoderTest", CHUNKED,
            body=b"5\r\nhello\r\n0\r\nSet-Cookie: a=b\r\n\r\n", content=b"hello"),
    _answer("trailer folded", RFC_CHUNKS, CHUNKED, body=b"0\r\nA: b\r\n c\r\n\r\n", content=CUT),
    AnswerCase("bare LFs", LLHTTP + "/invalid", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    AnswerCase("status line ends with bare LF", LLHTTP + "/invalid", OK + b"\nContent-Length: 5\r\n\r\nhello"),
    AnswerCase("no HTTP at all", "RFC 9112 §4", b"hello, world\r\n\r\n"),
    AnswerCase("HTTP/0.9", "HTTP/0.9", b"<html>hello</html>"),
    AnswerCase("HTTP/2 frames", "RFC 9113 §3.4", b"\0\0\6\4\0\0\0\0\0\0\5\0\0\x40\0"),
    _answer("protocol torn", LLHTTP + "/invalid", LENGTH, line=b"HTP/1.1 200 OK"),
    _answer("version 2.0", RFC_LINE, LENGTH, line=b"HTTP/2.0 200 OK"),
    _answer("version 1.2", RFC_LINE, LENGTH, line=b"HTTP/1.2 200 OK"),
    _answer("version 01.1", LLHTTP + "/invalid", LENGTH, line=b"HTTP/01.1 200 OK"),
    _answer("version 1.01", LLHTTP + "/invalid", LENGTH, line=b"HTTP/1.01 200 OK"),
    _answer("tab behind the version", LLHTTP + "/invalid", LENGTH, line=b"HTTP/1.1\t200 OK"),
    _answer("two spaces before the status", LLHTTP + "/invalid", LENGTH, line=b"HTTP/1.1  200 OK"),
    _answer("two spaces behind the status", LLHTTP + "/invalid", LENGTH, line=b"HTTP/1.1 200  OK", content=b"hello"),
    _answer("status of one digit", LLHTTP + "/invalid", LENGTH, line=b"HTTP/1.1 2 OK"),
    _answer("status of four digits", RFC_LINE, LENGTH, line=b"HTTP/1.1 2000 OK"),
    _answer("status zero", RFC_LINE, LENGTH, line=b"HTTP/1.1 000 OK"),
    _answer("status with letters", RFC_LINE, LENGTH, line=b"HTTP/1.1 20x OK"),
    _answer("no reason", RFC_LINE, LENGTH, line=b"HTTP/1.1 200", content=b"hello"),
    _answer("reason beyond ASCII", RFC_LINE, LENGTH, line=b"HTTP/1.1 200 \xe4", content=b"hello"),
    _answer("reason with bare CR", "response splitting", LENGTH, line=b"HTTP/1.1 200 O\rK"),
    _answer("101 unasked", "RFC 9110 §15.2.2", line=b"HTTP/1.1 101 Switching Protocols", body=b""),
    _answer("space before the colon", "RFC 9112 §5.1", b"Content-Length : 5"),
    _answer("folded", "RFC 9112 §5.2", LENGTH, b"A: b", b" c"),
    _answer("space before the first field", LLHTTP + "/invalid", b" A: b", LENGTH),
    _answer("value with NUL", "RFC 9110 §5.5", LENGTH, b"A: b\0c"),
    _answer("value with bare CR", LLHTTP + "/invalid", LENGTH, b"A: b\rC: d"),
    _answer("value with bare LF", "response splitting", LENGTH, b"A: b\nSet-Cookie: c"),
    _answer("no name", RFC_FIELDS, LENGTH, b": b"),
    _answer("no colon", RFC_FIELDS, LENGTH, b"A"),
    _answer("head of 70,000 bytes", "RFC 9110 §5.4", LENGTH, b"A: " + b"b" * 70_000),
]  # fmt: skip
