"""Errors of looking into a log."""

from __future__ import annotations

from interceptor.errors import InterceptorError


class LogViewError(InterceptorError):
    """The command can't be carried out on this log or with this file; the message says why and what would help."""
