"""What is asked, and of whom: lines, fields, methods, targets, versions, Host, connection handling."""

from __future__ import annotations

from case import BEHIND, Case, post

RFC_LINES = "RFC 9112 §2.2"
RFC_REQUEST_LINE = "RFC 9112 §3"
RFC_FIELDS = "RFC 9112 §5"
RFC_TARGET = "RFC 9112 §3.2"
GARDEN = "HTTP Garden"
LLHTTP = "llhttp test/request"
H11 = "h11 tests"
NGINX = "nginx-tests"
HAPROXY = "HAProxy reg-tests"


def _line(name: str, origin: str, line: bytes, ours: tuple[int, ...] = (400,)) -> Case:
    return Case(f"line: {name}", origin, post(start=line) + BEHIND, ours)


LINES = [
    _line("ordinary", RFC_REQUEST_LINE, b"GET /case HTTP/1.1", (200, 200)),
    Case("line: empty line before", RFC_LINES, b"\r\n" + BEHIND, (200,)),
    Case("line: bare LF before", RFC_LINES, b"\n" + BEHIND, (400,)),
    Case("line: bare CR before", RFC_LINES, b"\r" + BEHIND, (400,)),
    Case("line: only bare LFs", LLHTTP + "/invalid", BEHIND.replace(b"\r\n", b"\n"), (400,)),
    Case("line: request line ends with bare LF", LLHTTP + "/invalid", BEHIND.replace(b"\r\n", b"\n", 1), (400,)),
    Case("line: request line ends with bare CR", GARDEN, BEHIND.replace(b"\r\n", b"\r", 1), (400,)),
    Case("line: space before the first field", RFC_LINES, post(b"X: y", host=b" Host: a") + BEHIND, (400,)),
    Case("line: end of the head is a bare LF", GARDEN, BEHIND[:-2] + b"\n" + BEHIND, (400,)),
    Case("line: end of the head is a bare CR", LLHTTP + "/invalid", BEHIND[:-2] + b"\rZ" + BEHIND, (400,)),
    _line("two spaces before the target", RFC_REQUEST_LINE, b"GET  /case HTTP/1.1"),
    _line("two spaces before the version", RFC_REQUEST_LINE, b"GET /case  HTTP/1.1"),
    _line("space behind the version", RFC_REQUEST_LINE, b"GET /case HTTP/1.1 "),
    _line("tab for a space", RFC_REQUEST_LINE, b"GET\t/case HTTP/1.1"),
    _line("tab before the version", GARDEN, b"GET /case\tHTTP/1.1"),
    _line("vertical tab for a space", RFC_REQUEST_LINE, b"GET\x0b/case HTTP/1.1"),
    _line("space before the method", RFC_REQUEST_LINE, b" GET /case HTTP/1.1"),
    _line("NUL in the target", GARDEN, b"GET /ca\0se HTTP/1.1"),
    _line("bare CR in the target", GARDEN, b"GET /ca\rse HTTP/1.1"),
    _line("CR for the second space", GARDEN, b"GET /case\rHTTP/1.1"),
    _line("method with parenthesis", "RFC 9110 §9.1", b"G(T /case HTTP/1.1"),
    _line("method with colon", "RFC 9110 §9.1", b"GET: /case HTTP/1.1"),
    _line("method beyond ASCII", "RFC 9110 §9.1", b"G\xcbT /case HTTP/1.1"),
    _line("method empty", "RFC 9110 §9.1", b" /case HTTP/1.1"),
    _line("method unknown", "RFC 9110 §9.1", b"BREW /case HTTP/1.1", (200, 200)),
    _line("method in small letters", "RFC 9110 §9.1", b"get /case HTTP/1.1", (200, 200)),
    _line("method M-SEARCH", LLHTTP + "/method", b"M-SEARCH /case HTTP/1.1", (200, 200)),
    _line("method MKCOLA", LLHTTP + "/invalid", b"MKCOLA /case HTTP/1.1", (200, 200)),
    _line("method PRI", LLHTTP + "/method", b"PRI /case HTTP/1.1"),
    _line("method with a comma", GARDEN, b"GET,POST /case HTTP/1.1"),
]

VERSIONS = [
    _line("version 0.9", "RFC 9112 §2.3", b"GET /case HTTP/0.9", (505,)),
    _line("version 1.2", "RFC 9112 §2.3", b"GET /case HTTP/1.2", (505,)),
    _line("version 2.0", "RFC 9112 §2.3", b"GET /case HTTP/2.0", (505,)),
    _line("version 5.6", LLHTTP + "/invalid", b"GET /case HTTP/5.6", (505,)),
    _line("version 9.9", "RFC 9112 §2.3", b"GET /case HTTP/9.9", (505,)),
    _line("version 1.10", GARDEN, b"GET /case HTTP/1.10"),
    _line("version 01.1", GARDEN, b"GET /case HTTP/01.1"),
    _line("version 1", GARDEN, b"GET /case HTTP/1"),
    _line("version 1,1", GARDEN, b"GET /case HTTP/1,1"),
    _line("version +1.1", GARDEN, b"GET /case HTTP/+1.1"),
    _line("version in small letters", "RFC 9112 §2.3", b"GET /case http/1.1"),
    _line("version of another protocol", LLHTTP + "/invalid", b"GET /case ICE/1.0"),
    _line("version IHTTP", LLHTTP + "/invalid", b"GET /case IHTTP/1.0"),
    _line("version RTSP", LLHTTP + "/invalid", b"PUT /case RTSP/1.0"),
    _line("version twice", GARDEN, b"GET /case HTTP/1.1 HTTP/1.1"),
    Case("line: no version", "HTTP/0.9", b"GET /case\r\n\r\n", (400,)),
    Case("line: HTTP/2 preface", "RFC 9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", (505,)),
    Case("line: TLS client hello", "RFC 8446 §5.1", b"\x16\3\1\2\0\1\0\1\xfc\3\3" + b"\0" * 40, (400,)),
    Case("line: PROXY protocol unasked", "PROXY protocol §2.1",
         b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + BEHIND, (400,)),
    Case("line: HTTP/1.0", "RFC 9112 §2.3", b"GET /case HTTP/1.0\r\n\r\n" + BEHIND, (200,)),
    Case("line: HTTP/1.0, kept alive", "RFC 9112 §9.3",
         b"GET /case HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + BEHIND, (200, 200)),
]  # fmt: skip

TARGETS = [
    _line("target with fragment", RFC_TARGET + ", HAProxy CVE-2023-45539", b"GET /case#x HTTP/1.1"),
    _line("target beyond ASCII", RFC_TARGET, b"GET /c\xc3\xa4se HTTP/1.1"),
    _line("target with DEL", RFC_TARGET, b"GET /c\x7fse HTTP/1.1"),
    _line("target with a space", RFC_TARGET, b"GET /a b HTTP/1.1"),
    _line("target empty", RFC_TARGET, b"GET  HTTP/1.1"),
    _line("target without slash", NGINX, b"GET case HTTP/1.1"),
    _line("target only a query", NGINX, b"GET ?a=b HTTP/1.1"),
    _line("absolute-form", "RFC 9112 §3.2.2", b"GET http://a/case HTTP/1.1", (200, 200)),
    _line("absolute-form, another host", "RFC 9112 §3.2.2", b"GET http://b/case HTTP/1.1", (200, 200)),
    _line("absolute-form with userinfo", "RFC 9110 §4.2.4", b"GET http://b@a/case HTTP/1.1"),
    _line("absolute-form without host", "RFC 9110 §4.2.1", b"GET http:///case HTTP/1.1"),
    _line("absolute-form of another scheme", RFC_TARGET, b"GET ftp://a/case HTTP/1.1"),
    _line("absolute-form with fragment", RFC_TARGET, b"GET http://a/case#x HTTP/1.1"),
    _line("absolute-form with backslash", GARDEN, b"GET http://a\\b/case HTTP/1.1"),
    _line("absolute-form, host with comma", GARDEN, b"GET http://a,b/case HTTP/1.1", (200, 200)),
    _line("absolute-form with the default port", HAPROXY, b"GET http://a:80/case HTTP/1.1", (200, 200)),
    _line("absolute-form with an empty port", HAPROXY, b"GET http://a:/case HTTP/1.1", (200, 200)),
    _line("absolute-form, only a port", HAPROXY, b"GET http://:80 HTTP/1.1"),
    _line("absolute-form, neither host nor port", HAPROXY, b"GET http://: HTTP/1.1"),
    _line("absolute-form, fragment behind the host", HAPROXY, b"GET http://a#x HTTP/1.1"),
    _line("absolute-form of OPTIONS without a path", HAPROXY, b"OPTIONS http://a HTTP/1.1", (200, 200)),
    Case("line: absolute-form, Host twice", HAPROXY,
         post(b"Host: a:80", start=b"GET http://a/case HTTP/1.1") + BEHIND, (400,)),
    _line("target of two words and a slash", HAPROXY, b"GET a/case HTTP/1.1"),
    _line("authority-form", "RFC 9112 §3.2.3", b"GET a:80 HTTP/1.1"),
    _line("CONNECT", "RFC 9112 §3.2.3", b"CONNECT a:80 HTTP/1.1", (501,)),
    _line("CONNECT without a port", HAPROXY, b"CONNECT a HTTP/1.1", (501,)),
    _line("CONNECT with an empty port", HAPROXY, b"CONNECT a: HTTP/1.1", (501,)),
    _line("CONNECT in absolute-form", HAPROXY, b"CONNECT http://a:80 HTTP/1.1", (501,)),
    _line("CONNECT in origin-form", "RFC 9112 §3.2.3", b"CONNECT /case HTTP/1.1", (501,)),
    _line("asterisk-form", "RFC 9112 §3.2.4", b"OPTIONS * HTTP/1.1", (200, 200)),
    _line("asterisk-form of a GET", "RFC 9112 §3.2.4", b"GET * HTTP/1.1"),
    _line("asterisk-form with more", GARDEN, b"OPTIONS *x HTTP/1.1"),
    _line("asterisk-form with a path", HAPROXY, b"OPTIONS */case HTTP/1.1"),
    _line("TRACE", "RFC 9110 §9.3.8", b"TRACE /case HTTP/1.1", (200, 200)),
    Case("line: TRACE with Max-Forwards 0", "RFC 9110 §7.6.2",
         post(b"Max-Forwards: 0", start=b"TRACE /case HTTP/1.1"), (501,)),
    Case("line: OPTIONS with Max-Forwards 0", "RFC 9110 §7.6.2",
         post(b"Max-Forwards: 0", start=b"OPTIONS /case HTTP/1.1"), (501,)),
    Case("line: target of 9,000 bytes", "RFC 9112 §3", post(start=b"GET /%b HTTP/1.1" % (b"a" * 9_000)), (414,)),
]  # fmt: skip


def _host(name: str, *lines: bytes, ours: tuple[int, ...] = (400,), origin: str = "RFC 9112 §3.2") -> Case:
    head = b"\r\n".join([b"GET /case HTTP/1.1", *lines])
    return Case(f"host: {name}", origin, head + b"\r\n\r\n" + BEHIND, ours)


HOSTS = [
    _host("missing", b"X: y"),
    _host("twice", b"Host: a", b"Host: b"),
    _host("twice the same", b"Host: a", b"Host: a"),
    _host("empty", b"Host:", ours=(200, 200)),
    _host("empty beside one", b"Host:", b"Host: a"),
    _host("padded", b"Host:\t a \t", ours=(200, 200)),
    _host("space within", b"Host: a b"),
    _host("userinfo", b"Host: b@a"),
    _host("path", b"Host: a/b"),
    _host("query", b"Host: a?b"),
    _host("fragment", b"Host: a#b"),
    _host("scheme", b"Host: http://a"),
    _host("backslash", b"Host: a\\b"),
    _host("port that is no number", b"Host: a:b"),
    _host("empty port", b"Host: a:", ours=(200, 200), origin=HAPROXY),
    _host("only a port", b"Host: :80", ours=(200, 200), origin=HAPROXY),
    _host("two ports", b"Host: a:1:2"),
    _host("list", b"Host: a, b"),
    _host("beyond ASCII", b"Host: \xe4"),
    _host("quote", b'Host: "a"'),
    _host("angle bracket", b"Host: <a>"),
    _host("bracket left open", b"Host: [::1"),
    _host("IPv6", b"Host: [::1]:80", ours=(200, 200)),
    _host("space before the colon", b"Host : a"),
    _host("folded", b"Host:\r\n a"),
    _host("bare CR behind", b"Host: a\rX: y"),
    _host("NUL behind", b"Host: a\0"),
]


def _field(name: str, origin: str, *fields: bytes, ours: tuple[int, ...] = (400,)) -> Case:
    return Case(f"field: {name}", origin, post(*fields, start=b"GET /case HTTP/1.1") + BEHIND, ours)


FIELDS = [
    _field("space before the colon", "RFC 9112 §5.1", b"A : b"),
    _field("tab before the colon", "RFC 9112 §5.1", b"A\t: b"),
    _field("folded", "RFC 9112 §5.2", b"A: b", b" c"),
    _field("folded with a tab", "RFC 9112 §5.2", b"A: b", b"\tc"),
    _field("fold that hides a length", LLHTTP + "/invalid", b"Foo: bar", b" Content-Length: 38"),
    _field("name on a line of its own", LLHTTP + "/invalid", b"name", b" : value"),
    _field("no colon", RFC_FIELDS, b"A"),
    _field("no name", LLHTTP + "/invalid", b": b"),
    _field("name with @", LLHTTP + "/invalid", b"Fo@: Failure"),
    _field("name with control character", LLHTTP + "/invalid", b"Foo\x01test: Bar"),
    _field("name with NUL", RFC_FIELDS, b"A\0: b"),
    _field("name beyond ASCII", RFC_FIELDS, b"\xe4: b"),
    _field("name with quote", RFC_FIELDS, b'"A": b'),
    _field("name with slash", RFC_FIELDS, b"A/B: c"),
    _field("name torn by CR", LLHTTP + "/invalid", b"Connection\r\x1b5\xd5eep-Alive"),
    _field("value with NUL", "RFC 9110 §5.5", b"A: b\0c"),
    _field("value with bare CR", "RFC 9110 §5.5", b"A: b\rc"),
    _field("value with bare LF", "RFC 9110 §5.5", b"A: b\nC: d"),
    _field("value with vertical tab", "RFC 9110 §5.5", b"A: b\x0bc"),
    _field("value with DEL", "RFC 9110 §5.5", b"A: b\x7fc"),
    _field("value with escape", "RFC 9110 §5.5", b"A: \x1b[31m"),
    _field("value beyond ASCII", "RFC 9110 §5.5", b"A: \xe4\xff", ours=(200, 200)),
    _field("value empty", "RFC 9110 §5.5", b"A:", ours=(200, 200)),
    _field("separated by CR", LLHTTP + "/invalid", b"Foo: 1\rBar: 2"),
    _field("200 of them", "RFC 9110 §5.4", *[b"A: b"] * 200, ours=(431,)),
    _field("one of 40,000 bytes", "RFC 9110 §5.4", b"A: " + b"b" * 40_000, ours=(431,)),
    _field("underscore in another name", "WSGI", b"X_Id: 1", ours=(200, 200)),
    _field("X_Forwarded_For", "CVE-2025, header smuggling to WSGI", b"X_Forwarded_For: 127.0.0.1"),
    _field("X_Forwarded_Proto", "header smuggling to WSGI", b"X-Forwarded_Proto: https"),
    _field("X-Forwarded-For nominated", "Nathan Davison 2019, hop-by-hop fields",
           b"Connection: close, X-Forwarded-For", ours=(200,)),
    _field("close, and bytes behind that are no request", HAPROXY, b"Content-Length: 0", b"Connection: close", b"",
           b"this is not sent", ours=(200,)),
    _field("TE with a weight", HAPROXY, b"TE: trailers;q=0.5", ours=(200, 200)),
    _field("Upgrade to WebSocket without a key", HAPROXY, b"Connection: upgrade", b"Upgrade: websocket",
           ours=(200, 200)),
    _field("Host nominated", "Nathan Davison 2019, hop-by-hop fields", b"Connection: Host", ours=(200, 200)),
    _field("Cookie nominated", "Nathan Davison 2019, hop-by-hop fields", b"Cookie: a", b"Connection: Cookie",
           ours=(200, 200)),
    _field("Connection with junk", H11, b"Connection: \xe9, (, a=b, keep-alive", ours=(200, 200)),
    _field("Expect unknown", "RFC 9110 §10.1.1", b"Expect: 200-ok", ours=(417,)),
    _field("Expect obfuscated", "0.CL, PortSwigger 2025", b"Expect: y 100-continue", ours=(417,)),
    _field("Expect folded", "0.CL, PortSwigger 2025", b"Expect:\r\n 100-continue"),
    _field("Upgrade to h2c", "Bishop Fox 2020, h2c smuggling", b"Connection: Upgrade, HTTP2-Settings",
           b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__", ours=(200, 200)),
    _field("Upgrade to h2c without Connection", "Bishop Fox 2020, h2c smuggling", b"Upgrade: h2c", ours=(200, 200)),
]  # fmt: skip

HEADS = [*LINES, *VERSIONS, *TARGETS, *HOSTS, *FIELDS]
