"""How long is it: Content-Length, Transfer-Encoding, both, and the chunked coding itself."""

from __future__ import annotations

from case import BEHIND, Case, chunked, post

CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

RFC_LENGTH = "RFC 9110 §8.6, RFC 9112 §6.3"
RFC_CODING = "RFC 9112 §6.1, §6.3"
RFC_CHUNKS = "RFC 9112 §7.1"
KETTLE_2019 = "PortSwigger 2019, HTTP Desync Attacks"
GARDEN = "HTTP Garden"
LLHTTP = "llhttp test/request"
H11 = "h11 tests"
HAPROXY = "HAProxy reg-tests"


def _length(name: str, origin: str, *values: bytes, ours: tuple[int, ...] = (400,)) -> Case:
    fields = [b"Content-Length:" + value for value in values]
    return Case(f"length: {name}", origin, post(*fields, body=b"hello" + BEHIND), ours)


LENGTHS = [
    _length("one, plain", RFC_LENGTH, b" 5", ours=(200, 200)),
    _length("two that differ", RFC_LENGTH, b" 5", b" 6"),
    _length("two that agree", RFC_LENGTH, b" 5", b" 5"),
    _length("a list that agrees", RFC_LENGTH, b" 5, 5"),
    _length("a list that differs", RFC_LENGTH, b" 5,6"),
    _length("a list with nothing", GARDEN, b" ,5"),
    _length("a list that ends with nothing", GARDEN, b" 5,"),
    _length("plus", GARDEN, b" +5"),
    _length("minus", GARDEN, b" -5"),
    _length("minus zero", GARDEN, b" -0"),
    _length("leading zeros", LLHTTP + "/content-length", b" 005", ours=(200, 200)),
    _length("hexadecimal", GARDEN, b" 0x5"),
    _length("underscore between digits", GARDEN, b" 0_5"),
    _length("fraction", GARDEN, b" 5.0"),
    _length("exponent", GARDEN, b" 5e0"),
    _length("quoted", GARDEN, b' "5"'),
    _length("padded with spaces", LLHTTP + "/content-length", b"    5   ", ours=(200, 200)),
    _length("padded with tabs", GARDEN, b"\t5\t", ours=(200, 200)),
    _length("vertical tab before", GARDEN, b" \x0b5"),
    _length("form feed behind", GARDEN, b" 5\x0c"),
    _length("NUL behind", GARDEN, b" 5\0"),
    _length("no-break space before", GARDEN, b" \xa05"),
    _length("superscript digit", GARDEN, b" \xb2"),
    _length("digits of another script", GARDEN, b" \xd9\xa5"),
    _length("space within", LLHTTP + "/content-length", b" 4 2"),
    _length("empty", LLHTTP + "/content-length", b""),
    _length("only spaces", LLHTTP + "/content-length", b"   "),
    _length("empty beside one", GARDEN, b"", b" 5"),
    _length("semicolon", GARDEN, b" 5;6"),
    _length("letter behind", H11, b" 5x"),
    _length("beyond 64 bits", LLHTTP + "/content-length", b" 1000000000000000000000"),
    _length("64 bits and five", GARDEN, b" 18446744073709551621"),
    _length("32 bits and five", GARDEN, b" 4294967301", ours=(413,)),
    _length("63 bits and five", GARDEN, b" 9223372036854775813"),
    Case("length: folded", GARDEN, post(b"Content-Length:\r\n 5", body=b"hello" + BEHIND), (400,)),
    Case("length: name with CR", LLHTTP + "/content-length", post(b"Content\rLength: 5", body=b"hello"), (400,)),
    Case("length: name with space", KETTLE_2019, post(b"Content-Length : 5", body=b"hello" + BEHIND), (400,)),
    Case("length: name with underscore", "PortSwigger 2021", post(b"Content_Length: 5", body=b"hello"), (400,)),
    Case("length: name in capitals", LLHTTP + "/content-length",
         post(b"conTENT-Length: 5", body=b"hello" + BEHIND), (200, 200)),
    Case("length: none, content all the same", RFC_LENGTH, post(body=SMUGGLED), (200, 200)),
    Case("length: more than comes", RFC_LENGTH, post(b"Content-Length: 500", body=b"hello"), ()),
    Case("length: of a GET", "CL.0, PortSwigger 2022",
         post(b"Content-Length: %d" % len(SMUGGLED), start=b"GET /case HTTP/1.1", body=SMUGGLED + BEHIND), (200, 200)),
    Case("length: of a HEAD", "CL.0, PortSwigger 2022",
         post(b"Content-Length: %d" % len(SMUGGLED), start=b"HEAD /case HTTP/1.1", body=SMUGGLED), (200,)),
    Case("length: of an OPTIONS", "CL.0, PortSwigger 2022",
         post(b"Content-Length: %d" % len(SMUGGLED), start=b"OPTIONS /case HTTP/1.1", body=SMUGGLED), (200,)),
    Case("length: nominated by Connection", "Nathan Davison 2019, hop-by-hop fields",
         post(b"Content-Length: 5", b"Connection: Content-Length", body=b"hello" + BEHIND), (200, 200)),
]  # fmt: skip


def _coding(name: str, origin: str, *fields: bytes, ours: tuple[int, ...] = (400,)) -> Case:
    return Case(f"coding: {name}", origin, post(*fields, body=CHUNKS + BEHIND), ours)


CODINGS = [
    _coding("chunked", RFC_CODING, b"Transfer-Encoding: chunked", ours=(200, 200)),
    _coding("any case", RFC_CODING, b"tRaNsFeR-eNcOdInG: cHuNkEd", ours=(200, 200)),
    _coding("tabs around", KETTLE_2019, b"Transfer-Encoding:\tchunked\t", ours=(200, 200)),
    _coding("many spaces", KETTLE_2019, b"Transfer-Encoding:      chunked   ", ours=(200, 200)),
    _coding("xchunked", KETTLE_2019, b"Transfer-Encoding: xchunked", ours=(501,)),
    _coding("chunkedx", KETTLE_2019, b"Transfer-Encoding: chunkedx"),
    _coding("space before the colon", KETTLE_2019, b"Transfer-Encoding : chunked"),
    _coding("tab before the colon", KETTLE_2019, b"Transfer-Encoding\t: chunked"),
    _coding("space before the name", KETTLE_2019, b" Transfer-Encoding: chunked"),
    _coding("vertical tab", KETTLE_2019, b"Transfer-Encoding: \x0bchunked"),
    _coding("form feed", KETTLE_2019, b"Transfer-Encoding: chunked\x0c"),
    _coding("NUL before", KETTLE_2019, b"Transfer-Encoding: \0chunked"),
    _coding("NUL in the name", KETTLE_2019, b"Transfer\0-Encoding: chunked"),
    _coding("0xFF before", KETTLE_2019, b"Transfer-Encoding: \xffchunked", ours=(501,)),
    _coding("no-break space", KETTLE_2019, b"Transfer-Encoding:\xa0chunked", ours=(501,)),
    _coding("folded", KETTLE_2019, b"Transfer-Encoding:\r\n chunked"),
    _coding("folded with a tab", KETTLE_2019, b"Transfer-Encoding:\r\n\tchunked"),
    _coding("name on a line of its own", KETTLE_2019, b"Transfer-Encoding\r\n: chunked"),
    _coding("behind a bare LF", KETTLE_2019, b"X: y\nTransfer-Encoding: chunked"),
    _coding("behind a bare CR", KETTLE_2019, b"X: y\rTransfer-Encoding: chunked"),
    _coding("bare CR within", KETTLE_2019, b"Transfer-Encoding: chunk\red"),
    _coding("twice", KETTLE_2019, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    _coding("chunked, then x", KETTLE_2019, b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
    _coding("x, then chunked", KETTLE_2019, b"Transfer-Encoding: x", b"Transfer-Encoding: chunked"),
    _coding("identity, then chunked", KETTLE_2019, b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
    _coding("chunked and cow in capitals", KETTLE_2019, b"Transfer-Encoding: chunked", b"TRANSFER-ENCODING: cow"),
    _coding("chunked, identity", KETTLE_2019, b"Transfer-Encoding: chunked, identity"),
    _coding("identity, chunked", RFC_CODING, b"Transfer-Encoding: identity, chunked", ours=(501,)),
    _coding("gzip, chunked", RFC_CODING, b"Transfer-Encoding: gzip, chunked", ours=(501,)),
    _coding("chunked, gzip", LLHTTP + "/transfer-encoding", b"Transfer-Encoding: chunked, gzip"),
    _coding("chunked, gzip, chunked", HAPROXY, b"Transfer-Encoding: chunked, gzip, chunked"),
    _coding("gzip alone", HAPROXY, b"Transfer-Encoding: gzip"),
    _coding("chunked, chunked", RFC_CODING, b"Transfer-Encoding: chunked, chunked"),
    _coding("chunkedchunked", LLHTTP + "/transfer-encoding", b"Transfer-Encoding: chunkedchunked"),
    _coding("pigeons", LLHTTP + "/transfer-encoding", b"Transfer-Encoding: pigeons"),
    _coding("identity", LLHTTP + "/transfer-encoding", b"Transfer-Encoding: identity"),
    _coding("empty", LLHTTP + "/transfer-encoding", b"Transfer-Encoding:"),
    _coding("empty three times", LLHTTP + "/transfer-encoding", *[b"Transfer-Encoding:"] * 3),
    _coding("empty element before", GARDEN, b"Transfer-Encoding: ,chunked", ours=(501,)),
    _coding("empty element behind", GARDEN, b"Transfer-Encoding: chunked,"),
    _coding("quoted", KETTLE_2019, b'Transfer-Encoding: "chunked"'),
    _coding("single quotes", KETTLE_2019, b"Transfer-Encoding: 'chunked'"),
    _coding("parameter", RFC_CODING, b"Transfer-Encoding: chunked;q=1"),
    _coding("two words", KETTLE_2019, b"Transfer-Encoding: chunked identity"),
    _coding("colon twice", KETTLE_2019, b"Transfer-Encoding:: chunked", ours=(501,)),
    _coding("backslash", KETTLE_2019, b"Transfer-Encoding: chunked\\"),
    _coding("brackets", KETTLE_2019, b"Transfer-Encoding: [chunked]"),
    _coding("another space character in the name", KETTLE_2019, b"Transfer-Encoding\xa0: chunked"),
    _coding("underscore in the name", "PortSwigger 2021", b"Transfer_Encoding: chunked"),
    _coding("names run together", KETTLE_2019, b"TransferEncoding: chunked", b"Content-Length: 15", ours=(200, 200)),
    _coding("as the value of Content-Encoding", KETTLE_2019, b"Content-Encoding: chunked", b"Content-Length: 15",
            ours=(200, 200)),
    _coding("nominated by Connection", "Nathan Davison 2019, hop-by-hop fields", b"Transfer-Encoding: chunked",
            b"Connection: transfer-encoding", ours=(200, 200)),
    Case("coding: in HTTP/1.0", "RFC 9112 §6.1",
         post(b"Transfer-Encoding: chunked", start=b"POST /case HTTP/1.0", body=CHUNKS), (400,)),
    Case("coding: in HTTP/1.0, kept alive", "RFC 9112 §6.1",
         post(b"Transfer-Encoding: chunked", b"Connection: keep-alive", start=b"POST /case HTTP/1.0",
              body=CHUNKS + BEHIND), (400,)),
    Case("coding: of a GET", H11, post(b"Transfer-Encoding: chunked", start=b"GET /case HTTP/1.1",
                                       body=CHUNKS + BEHIND), (200, 200)),
]  # fmt: skip


def _both(name: str, origin: str, length: int, body: bytes, *codings: bytes) -> Case:
    fields = codings or (b"Transfer-Encoding: chunked",)
    return Case(f"both: {name}", origin, post(b"Content-Length: %d" % length, *fields, body=body), (400,))


BOTH = [
    _both("CL.TE", KETTLE_2019, 5 + len(SMUGGLED), b"0\r\n\r\n" + SMUGGLED),
    _both("TE.CL", KETTLE_2019, 4, b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
    _both("CL.TE, prefix of the next", KETTLE_2019, 6, b"0\r\n\r\nG" + BEHIND),
    _both("TE.CL, coding first", RFC_CODING, 5, CHUNKS + BEHIND),
    _both("they agree", RFC_CODING, 15, CHUNKS + BEHIND),
    _both("length zero", "0.CL, PortSwigger 2025", 0, CHUNKS + BEHIND),
    *(
        Case(f"both: TE.TE, {case.name.removeprefix('coding: ')}", case.origin,
             case.data.replace(b"Host: a\r\n", b"Host: a\r\nContent-Length: 4\r\n", 1),
             case.ours if case.ours in ((501,),) else (400,))
        for case in CODINGS
        if case.ours != (200, 200) and "HTTP/1.0" not in case.name
    ),
    Case("both: behind a bare LF", LLHTTP + "/invalid",
         post(b"X: x\nTransfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKS), (400,)),
    Case("both: behind a bare CR", LLHTTP + "/invalid",
         post(b"x:\rTransfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKS), (400,)),
    Case("both: a length behind a bare LF", LLHTTP + "/invalid",
         post(b"Dummy: x\nContent-Length: 23", start=b"GET /case HTTP/1.1", body=SMUGGLED), (400,)),
]  # fmt: skip


def _chunks(name: str, origin: str, body: bytes, ours: tuple[int, ...] = (400,)) -> Case:
    return Case(f"chunks: {name}", origin, chunked(body + BEHIND), ours)


CHUNK_SIZES = [
    _chunks("lower case", LLHTTP + "/transfer-encoding", b"a\r\n0123456789\r\n0\r\n\r\n", (200, 200)),
    _chunks("upper case", LLHTTP + "/transfer-encoding", b"A\r\n0123456789\r\n0\r\n\r\n", (200, 200)),
    _chunks("zeros before", LLHTTP + "/transfer-encoding", b"005\r\nhello\r\n000\r\n\r\n", (200, 200)),
    _chunks("0x", GARDEN, b"0x5\r\nhello\r\n0\r\n\r\n"),
    _chunks("plus", GARDEN, b"+5\r\nhello\r\n0\r\n\r\n"),
    _chunks("minus", GARDEN, b"-5\r\nhello\r\n0\r\n\r\n"),
    _chunks("minus zero", GARDEN, b"5\r\nhello\r\n-0\r\n\r\n"),
    _chunks("underscore", GARDEN, b"0_5\r\nhello\r\n0\r\n\r\n"),
    _chunks("not hexadecimal", H11, b"g\r\nhello\r\n0\r\n\r\n"),
    _chunks("empty size", GARDEN, b"\r\nhello\r\n0\r\n\r\n"),
    _chunks("only an extension", GARDEN, b";a\r\nhello\r\n0\r\n\r\n"),
    _chunks("space before", GARDEN, b" 5\r\nhello\r\n0\r\n\r\n"),
    _chunks("space behind", LLHTTP + "/transfer-encoding", b"5 \r\nhello\r\n0  \r\n\r\n", (200, 200)),
    _chunks("tab behind", GARDEN, b"5\t\r\nhello\r\n0\r\n\r\n", (200, 200)),
    _chunks("vertical tab behind", GARDEN, b"5\x0b\r\nhello\r\n0\r\n\r\n"),
    _chunks("NUL behind", GARDEN, b"5\0\r\nhello\r\n0\r\n\r\n"),
    _chunks("comma behind", GARDEN, b"5,6\r\nhello\r\n0\r\n\r\n"),
    _chunks("beyond 64 bits", "nginx CVE-2013-2028", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    _chunks("64 bits all set", "nginx CVE-2013-2028", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", ()),
    _chunks("sign bit of 64", "nginx CVE-2013-2028", b"8000000000000005\r\nhello\r\n0\r\n\r\n", ()),
    _chunks("32 bits and five", GARDEN, b"100000005\r\nhello\r\n0\r\n\r\n", ()),
    _chunks("no last chunk", LLHTTP + "/transfer-encoding", b"3\r\nfoo\r\n\r\n"),
    _chunks("missing CRLF at the end", RFC_CHUNKS, b"5\r\nhello\r\n0\r\n", (400,)),
]


CHUNK_LINES = [
    _chunks("bare LF behind the size", "TERM.EXT, w4ke 2025", b"5\nhello\r\n0\r\n\r\n"),
    _chunks("bare LF behind an extension", "TERM.EXT, w4ke 2025", b"5;\nhello\r\n0\r\n\r\n"),
    _chunks("bare LF in an extension", "EXT.TERM, w4ke 2025", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    _chunks("bare CR in an extension", "EXT.TERM, w4ke 2025", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    _chunks("CR CR behind the size", LLHTTP + "/transfer-encoding", b"5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n"),
    _chunks("bare CR behind the size", GARDEN, b"5\rhello\r\n0\r\n\r\n"),
    _chunks("LF within the size line", LLHTTP + "/transfer-encoding", b"3 \n  \r\nfoo\r\n0\r\n\r\n"),
    _chunks("content ends with bare LF", "EXT.SPILL, w4ke 2025", b"5\r\nhello\n0\r\n\r\n"),
    _chunks("content ends with bare CR", GARDEN, b"5\r\nhello\r0\r\n\r\n"),
    _chunks("content ends with two other bytes", "SPILL.TERM, w4ke 2025", b"5\r\nhelloxx0\r\n\r\n"),
    _chunks("content without an end", LLHTTP + "/transfer-encoding", b"5\r\nhello0\r\n\r\n"),
    _chunks("one byte too much", RFC_CHUNKS, b"5\r\nhello!\r\n0\r\n\r\n"),
    _chunks("one byte too few", RFC_CHUNKS, b"6\r\nhello\r\n0\r\n\r\n"),
    _chunks("last chunk with bare LF", "HTTP Garden, nginx", b"5\r\nhello\r\n0\n\r\n"),
    _chunks("last line is a bare LF", "HTTP Garden, nginx", b"5\r\nhello\r\n0\r\n\n"),
    _chunks("only LFs", LLHTTP + "/invalid", b"5\nhello\n0\n\n"),
]

CHUNK_EXTENSIONS = [
    _chunks("extension", RFC_CHUNKS, b"5;a=b\r\nhello\r\n0;c\r\n\r\n", (200, 200)),
    _chunks("many extensions", LLHTTP + "/transfer-encoding", b"5;i;so=are;b=v\r\nhello\r\n0\r\n\r\n", (200, 200)),
    _chunks("quoted extension", LLHTTP + "/transfer-encoding",
            b'5;a="I \\"b\\"; \\\\c";d\r\nhello\r\n0\r\n\r\n', (200, 200)),
    _chunks("quote left open", LLHTTP + "/transfer-encoding", b'5;a="def; g\r\nhello\r\n0\r\n\r\n', (200, 200)),
    _chunks("nothing behind the semicolon", LLHTTP + "/transfer-encoding", b"5;\r\nhello\r\n0\r\n\r\n", (200, 200)),
    _chunks("no semicolon", LLHTTP + "/transfer-encoding", b"2 erfr\r\naa\r\n0 rrrr\r\n\r\n"),
    _chunks("extension of 10,000 bytes", "RFC 9112 §7.1.1", b"5;" + b"a" * 10_000 + b"\r\nhello\r\n0\r\n\r\n"),
    _chunks("white space around an extension", RFC_CHUNKS, b"5 ; a = b\r\nhello\r\n0\r\n\r\n", (200, 200)),
]  # fmt: skip

TRAILERS = [
    _chunks("trailer", RFC_CHUNKS, b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", (200, 200)),
    _chunks("trailer Vary", LLHTTP + "/transfer-encoding", b"5\r\nhello\r\n0\r\nVary: *\r\n\r\n", (200, 200)),
    _chunks("trailer Content-Type", LLHTTP + "/transfer-encoding",
            b"5\r\nhello\r\n0\r\nContent-Type: text/plain\r\n\r\n", (200, 200)),
    _chunks("trailer that announces trailers", "Jetty HttpConnectionTest",
            b"5\r\nhello\r\n0\r\nTrailer: A\r\n\r\n", (200, 200)),
    *(
        _chunks(f"trailer {name.decode()}", "RFC 9110 §6.5.1", b"5\r\nhello\r\n0\r\n%b: 5\r\n\r\n" % name)
        for name in (b"Content-Length", b"Transfer-Encoding", b"Host", b"Connection", b"TE",
                     b"Authorization", b"Cookie", b"Expect", b"X-Forwarded-For", b"Content_Length")
    ),
    _chunks("trailer with space before the colon", RFC_CHUNKS, b"0\r\nA : b\r\n\r\n"),
    _chunks("trailer folded", RFC_CHUNKS, b"0\r\nA: b\r\n c\r\n\r\n"),
    _chunks("trailer with bare LF", "TRAIL.MIX, w4ke 2025", b"0\r\nA: b\n\r\n"),
    _chunks("trailer without colon", RFC_CHUNKS, b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
    _chunks("trailer without end", RFC_CHUNKS, b"0\r\nA: b\r\n", (400,)),
]  # fmt: skip

FRAMING = [*LENGTHS, *CODINGS, *BOTH, *CHUNK_SIZES, *CHUNK_LINES, *CHUNK_EXTENSIONS, *TRAILERS]
