"""What can be wrong with a message, and which status says so.

A parser that has raised is finished: it raises the same error again, because after a framing error nobody knows
where the next message begins (RFC 9112 §6.3, §11.2).
"""

from __future__ import annotations


class MessageError(Exception):
    """A message that breaks RFC 9110 or 9112.  `status` is what its sender is told, `reason` the rule that it broke."""

    def __init__(self, status: int, reason: str, limit: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        # The limit that was reached, by its name, where it is that.
        self.limit = limit


class RequestError(MessageError):
    """From a client: it is answered with `status`, and its connection is closed."""


class AnswerError(MessageError):
    """From the target: the client gets 502 (RFC 9110 §15.6.3), and the connection to the target is given up."""

    def __init__(self, reason: str, limit: str | None = None) -> None:
        super().__init__(502, reason, limit)
