"""Whether the target takes pipelined requests one after the other.

RFC 9112 §9.3.2 asks servers to support pipelining, and to work on requests side by side only if all of them are safe.
Not all do.  Node's calls the next handler while the one before it waits, Puma 5.6 takes what follows a request's
head for its content.  Clients who wait for their answers never see it; a replay, which has all events at hand, would
lose state, and answers would reach the wrong clients.  So events are sent ahead only to servers that were seen to take
turns, known by the name in their answers, or where the operator says so.
"""

from __future__ import annotations

import re
from enum import Enum

# Tried with handlers that wait, and with thousands of requests with small, large and chunked content at once
# (docs/suitability.md#side-by-side).  Not hypercorn and Mojolicious: they close after so many answers on what they have
# not read, and Mojolicious then takes content for requests.
SERVERS_TAKING_TURNS = (
    "aiohttp", "BaseHTTP", "Cheroot", "CherryPy", "granian", "gunicorn", "nginx",
    "TornadoServer", "TwistedWeb", "uvicorn", "WEBrick",
)  # fmt: skip
# As a whole product (RFC 9110 §10.2.4), in whatever place: aiohttp names Python before itself.
_NAMES = "|".join(re.escape(name.lower()) for name in SERVERS_TAKING_TURNS)
_find = re.compile(rb"(?i)\r\nserver:(?:[^\r]*?[\t ])?(?:%b)(?=[-/ \t\r])" % _NAMES.encode()).search


class Pipelining(Enum):
    """Whether events are sent before the one in front of them is answered."""

    # Once the target has answered in the name of a server that takes turns.
    AUTO = "auto"
    ON = "on"
    OFF = "off"


def takes_turns(answer_head: bytes) -> bool:
    """Return whether an answer comes from a server that is known to take pipelined requests in turn."""
    return _find(answer_head) is not None
