"""The parts of a URL, whatever stands in them.

urllib's urlsplit refuses what a log's URL may well hold: several hosts of which one is an IPv6 address (libpq), or a
directory with a bracket in its name; and which of them depends on Python's version.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# RFC 3986, appendix B.
_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)


class UrlParts(NamedTuple):
    """What is missing is empty."""

    scheme: str
    authority: str
    path: str
    query: str
    fragment: str


def split_url(url: str) -> UrlParts:
    """Return the parts as they stand there, nothing decoded.  Every text has them (RFC 3986, appendix B)."""
    match = _URL.fullmatch(url)
    assert match is not None
    return UrlParts(*(part or "" for part in match.groups()))
