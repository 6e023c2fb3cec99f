"""What can keep the demonstration from going on."""

from __future__ import annotations

from interceptor.errors import InterceptorError


class DemoError(InterceptorError):
    """The demonstration could not be started or carried through.  The message says why."""


class RequestFailedError(Exception):
    """A request got no usable answer; whether it was applied is unknown."""
