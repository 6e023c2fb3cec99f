"""Errors of the proxy itself: what happened, where, and what to do."""

from __future__ import annotations


class InterceptorError(Exception):
    """Base class of every error that the proxy raises to its caller."""


class ConfigurationError(InterceptorError):
    """An option, a file or an address can't be used; nothing was started."""


class IllegalTransitionError(InterceptorError):
    """The state machine was given something that its table doesn't allow; nothing was changed."""


class NotPossibleNowError(InterceptorError):
    """A control request that the present state forbids.  The message says why and what would help."""


class TargetLostError(InterceptorError):
    """The target died, or its connection broke, while it was being projected into."""


class DivergedError(InterceptorError):
    """A replay was answered otherwise than the first time, and that was to stop it."""


class DrainTimeoutError(InterceptorError):
    """Requests in flight were not answered within drain_timeout_s; the hold was taken back."""
