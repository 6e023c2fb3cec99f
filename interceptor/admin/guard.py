"""Who may control us: a bearer token, and no request that a web page of another site has sent.

A browser on this machine reaches loopback ports, and sends what any page tells it to.  Such a request bears an Origin
and Sec-Fetch-Site (Fetch standard; W3C Fetch Metadata) that give it away.  A page whose own name has been made to lead
here (DNS rebinding) looks like ours but for its name in Host; so without a token, which it can't know, Host has to be
an address or localhost.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from interceptor.admin.problems import problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Probes come without a token; they show no request and change nothing.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
READING_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
# What the user has typed ("none") and what our own pages would send.
_OWN_SITES = frozenset({"same-origin", "none"})


def bearer_guard(token: str | None) -> Middleware:
    """Ask for the token where there is one; compared in constant time (RFC 6750 §2.1)."""
    expected = token.encode() if token else None

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if expected is not None and request.path not in OPEN_PATHS:
            scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
            # The scheme's case does not matter (RFC 9110 §11.1); what is no UTF-8 comes as surrogates.
            same = hmac.compare_digest(given.strip(" ").encode(errors="surrogateescape"), expected)
            if scheme.lower() != "bearer" or not same:
                response = problem(401, "a bearer token is needed (--admin-token-file of the ambassador)")
                response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
                return response
        return await handler(request)

    return check


def site_guard(*, has_token: bool) -> Middleware:
    """Refuse what a page of another site has sent: 403, and 421 for a host that we can't be (RFC 9110 §15.5.20)."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not has_token and request.path not in OPEN_PATHS and not _cannot_be_rebound(request.headers):
            return problem(421, "without a token the admin answers only to its address or localhost in Host")
        if request.method not in READING_METHODS and not is_own_site(request.headers):
            return problem(403, "a page of another site has sent this (Origin, Sec-Fetch-Site)")
        return await handler(request)

    return check


def _cannot_be_rebound(headers: Mapping[str, str]) -> bool:
    """Whether Host is no name that somebody's DNS could let point here."""
    try:
        host = urlsplit(f"//{headers.get(hdrs.HOST, '')}").hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_own_site(headers: Mapping[str, str]) -> bool:
    """Whether no page of another site has sent this."""
    if headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES:
        return False
    origin = headers.get(hdrs.ORIGIN)
    return origin is None or origin.partition("://")[2].lower() == headers.get(hdrs.HOST, "").lower()
