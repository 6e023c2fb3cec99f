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
TARGET = rb"[\x21-\x7e\x80-\xff]"

# What nearly every request looks like: origin-form and HTTP/1.1.  The slow path tells all the rest apart.
COMMON_REQUEST_HEAD = re.compile(rb"(?!CONNECT )(%b++) /%b*+ HTTP/1\.1\r\n(?:%b)*+\r\n" % (TOKEN, TARGET, FIELD_LINE))
REQUEST_HEAD = re.compile(rb"(%b++) (%b++) HTTP/1\.([01])\r\n((?:%b)*+)\r\n" % (TOKEN, TARGET, FIELD_LINE))
REQUEST_LINE = re.compile(rb"(%b++) (%b++) HTTP/([0-9])\.([0-9])" % (TOKEN, TARGET))

# A missing space behind the status code is tolerated: servers leave it out together with the reason.
ANSWER_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n(?:%b)*+\r\n" % FIELD_LINE
)
TRAILER_SECTION = re.compile(rb"((?:%b)*+)\r\n" % FIELD_LINE)
LINE_OF_FIELD = re.compile(rb"(%b++):[\t ]*+(%b)\r\n" % (TOKEN, FIELD_VALUE))

# Searched in the lower-cased head: the fields that steer a request, each with its value.
STEERING_OF_REQUEST = re.compile(
    rb"\n(host|content-length|connection|transfer-encoding|expect|upgrade|te|keep-alive|proxy-connection"
    rb"|http2-settings|via|x-forwarded-for|x-forwarded-host|x-forwarded-proto):[\t ]*+([^\r]*+)"
)
STEERING_OF_ANSWER = re.compile(
    rb"\n(content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade|te):[\t ]*+([^\r]*+)"
)

# reg-name, IPv4 or IP-literal, with an optional port (RFC 3986 §3.2.2, without userinfo)
HOST = re.compile(rb"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]*)?\Z")
ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?#]*)([/?].*)?\Z")

CHUNK_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16}+)[\t ]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
