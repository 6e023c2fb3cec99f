"""Which way a request goes: into the log and down the ordered lane, or past it on a connection of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from fnmatch import translate

from interceptor.errors import ConfigurationError
from interceptor.wire.request import Request
from storage_backends.records import Event

# RFC 9110 §9.2.1
SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
ADMIN_PATHS = frozenset(
    {b"/state", b"/checkpoint", b"/reproject", b"/unquarantine", b"/metrics", b"/healthz", b"/readyz"}
)


class Route(Enum):
    """The way of a request."""

    RECORD = "recorded and ordered"
    READ = "a safe method under --record unsafe: a pool of connections"
    BYPASS = "named by --bypass: a connection of its own"
    UPGRADE = "another protocol on a connection of its own (RFC 9110 §7.8)"
    ADMIN = "a control endpoint under --admin same"


class Router:
    """Decides by method, target and upgrade alone.  `bypass` are texts like `GET:/events/*` or `*:/stream`."""

    __slots__ = ("_admin_same", "_bypass", "_record_all", "records_all")

    def __init__(self, *, record_all: bool, bypass: Sequence[str], admin_same: bool) -> None:
        self._record_all = record_all
        self._bypass = [parse_route("--bypass", text) for text in bypass]
        self._admin_same = admin_same
        # Then only an upgrade goes another way, and nobody needs to be asked.
        self.records_all = record_all and not bypass and not admin_same

    def route(self, request: Request) -> Route:
        """Return the way of this request."""
        if request.upgrade is not None:
            return Route.UPGRADE
        if self.records_all:
            return Route.RECORD
        path = request.target.split(b"?", 1)[0]
        if self._admin_same and path in ADMIN_PATHS:
            return Route.ADMIN
        for method, pattern in self._bypass:
            if method in (b"*", request.method) and pattern.match(path):
                return Route.BYPASS
        if not self._record_all and request.method in SAFE_METHODS:
            return Route.READ
        return Route.RECORD


def event_matcher(option: str, texts: Sequence[str]) -> Callable[[Event], bool]:
    """Return whether an event is named by one of METHOD:GLOB.  Raises ConfigurationError naming `option`."""
    routes = [parse_route(option, text) for text in texts]

    def matches(event: Event) -> bool:
        method, target, _ = event.head.split(b" ", 2)
        path = target.split(b"?", 1)[0]
        return any(wanted in (b"*", method) and pattern.match(path) for wanted, pattern in routes)

    return matches


def parse_route(option: str, text: str) -> tuple[bytes, re.Pattern[bytes]]:
    """Read METHOD:GLOB; `*` is any method.  Raises ConfigurationError naming `option`."""
    method, colon, glob = text.partition(":")
    if not colon or not method or not glob.startswith(("/", "*")):
        raise ConfigurationError(f"{option} {text}: expected METHOD:GLOB, for example GET:/events/* or *:/stream")
    return method.upper().encode(), re.compile(translate(glob).encode())
