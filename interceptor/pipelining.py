"""Whether the target takes pipelined requests one after the other.

RFC 9112 §9.3.2 asks servers to support pipelining, and to work on requests side by side only if all of them are safe.
Not all do.  Node's calls the next handler while the one before it waits, Puma 5.6 takes what follows a request's
head for its content.  Clients who wait for their answers never see it; a replay, which has all events at hand, would
lose state, and answers would reach the wrong clients.  So events are sent ahead only to servers that were seen to take
turns, known by the name in their answers or by the program of their process (`interceptor.target.program`), or where
the operator says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

# Tried with handlers that wait, and most with thousands of requests with small, large and chunked content at once
# (docs/suitability.md#side-by-side).
SERVERS_TAKING_TURNS = (
    "aiohttp", "BaseHTTP", "Cheroot", "CherryPy", "daphne", "granian", "gunicorn", "nginx",
    "TornadoServer", "TwistedWeb", "uvicorn", "waitress", "WEBrick",
)  # fmt: skip
# They take turns, and close after so many answers on what they have not read; Mojolicious then takes content for
# requests.
SERVERS_CLOSING_ON_OTHERS = ("hypercorn", "Mojolicious")


class Pipelining(Enum):
    """Whether events are sent before the one in front of them is answered."""

    # Where its process is seen to run a program whose servers take turns, or once it has answered in the name of one.
    AUTO = "auto"
    ON = "on"
    OFF = "off"


def takes_turns(answer_head: bytes) -> bool | None:
    """Return whether the server that an answer names is fit for pipelined requests; None where that is not known."""
    if _finds_fit(answer_head):
        return True
    return False if _finds_unfit(answer_head) else None


def _finder(servers: tuple[str, ...]) -> Callable[[bytes], re.Match[bytes] | None]:
    """Return what finds one of them as a whole product (RFC 9110 §10.2.4), in whatever place: aiohttp names Python
    before itself.
    """
    names = "|".join(re.escape(name.lower()) for name in servers)
    return re.compile(rb"(?i)\r\nserver:(?:[^\r]*?[\t ])?(?:%b)(?=[-/ \t\r])" % names.encode()).search


_finds_fit = _finder(SERVERS_TAKING_TURNS)
_finds_unfit = _finder(SERVERS_CLOSING_ON_OTHERS)
