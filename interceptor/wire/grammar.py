"""The expressions of RFC 9110 §5 and RFC 9112 §3 to §5 that heads are validated with.

A head is validated as a whole by one expression in C; only the few fields that steer framing, connection handling
and forwarding are then looked at one by one.  All repetitions are possessive, so that a hostile head costs linear
time.  Bare CR, bare LF, NUL, obsolete folding, a space before the colon and an empty name simply do not match.
"""

from __future__ import annotations

import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# field-content with optional white space around it: VCHAR, obs-text, SP, HTAB (RFC 9110 §5.5)
FIELD_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
FIELD_LINE = rb"%b++:%b\r\n" % (TOKEN, FIELD_VALUE)
# RFC 9112 §3.2: no form of a target has a fragment or bytes beyond ASCII, and recipients cut them in different ways.
TARGET = rb"[\x21\x22\x24-\x7e]"


def _any_case(text: bytes) -> bytes:
    """Return an expression for `text` in any case; the flag for that would make the whole expression slow."""
    return b"".join(b"[%b%b]" % (c.upper(), c) if c.isalpha() else re.escape(c) for c in re.findall(rb"(?s).", text))


def _lines_other_than(*prefixes: bytes) -> bytes:
    """Return an expression for any number of field lines, none of which begins with one of `prefixes`.

    An underscore counts as a hyphen: CGI and WSGI make the same variable of both (RFC 3875 §4.1.18).
    """
    alike = [_any_case(prefix).replace(rb"\-", b"[-_]") for prefix in prefixes]
    return b"(?:(?!%b)%b)*+" % (b"|".join(alike), FIELD_LINE)


# What nearly every request looks like: origin-form, HTTP/1.1, one Host, at most one Content-Length behind it, and no
# other field that steers anything.  One match validates the head and says all that.  Max-Forwards matters to OPTIONS
# and TRACE only (RFC 9110 §7.6.2).
_OTHER_LINES = _lines_other_than(
    b"connection:", b"content-length:", b"host:", b"transfer-encoding:", b"te:", b"expect:", b"upgrade:",
    b"keep-alive:", b"proxy-connection:", b"http2-settings:", b"x-forwarded-",
)  # fmt: skip
COMMON_REQUEST_HEAD = re.compile(
    rb"(?!(?:CONNECT|OPTIONS|PRI|TRACE) )(%b++) /%b*+ HTTP/1\.1\r\n%b%b ?([^\r\t ]*+)\r\n%b"
    rb"(?:%b ?(0|[1-9][0-9]{0,17}+)\r\n%b)?+\r\n"
    % (TOKEN, TARGET, _OTHER_LINES, _any_case(b"host:"), _OTHER_LINES, _any_case(b"content-length:"), _OTHER_LINES)
)
REQUEST_HEAD = re.compile(rb"(%b++) (%b++) HTTP/1\.([01])\r\n((?:%b)*+)\r\n" % (TOKEN, TARGET, FIELD_LINE))
REQUEST_LINE = re.compile(rb"(%b++) (%b++) HTTP/([0-9])\.([0-9])" % (TOKEN, TARGET))

# What nearly every answer looks like: one Content-Length, and no other field that steers anything.
_OTHER_ANSWER_LINES = _lines_other_than(
    b"content-length:", b"connection:", b"transfer-encoding:", b"te:", b"keep-alive:", b"proxy-connection:", b"upgrade:"
)
COMMON_ANSWER_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9]) %b\r\n%b%b ?([0-9]{1,18}+)\r\n%b\r\n"
    % (FIELD_VALUE, _OTHER_ANSWER_LINES, _any_case(b"content-length:"), _OTHER_ANSWER_LINES)
)

# A missing space behind the status code is tolerated, and put in: servers leave it out together with the reason.
ANSWER_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n(?:%b)*+\r\n" % FIELD_LINE
)
TRAILER_SECTION = re.compile(rb"((?:%b)*+)\r\n" % FIELD_LINE)

# Searched in the lower-cased head: the fields that steer a request, each with its value.
STEERING_OF_REQUEST = re.compile(
    rb"\n(host|content[-_]length|connection|transfer[-_]encoding|expect|upgrade|te|keep-alive|proxy-connection"
    rb"|http2-settings|via|x[-_]forwarded[-_](?:for|host|proto)):[\t ]*+([^\r]*+)"
)
STEERING_OF_ANSWER = re.compile(
    rb"\n(content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade|te):[\t ]*+([^\r]*+)"
)

# Looked for in what is not complete yet.
BARE_LF = re.compile(rb"(?<!\r)\n")

# reg-name, IPv4 or IP-literal, with an optional port (RFC 3986 §3.2.2, without userinfo)
HOST = re.compile(rb"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]*)?\Z")
ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?#]*)([/?].*)?\Z")

CHUNK_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16}+)[\t ]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
