"""Errors of the controller; each message says what, where and what to do."""

from __future__ import annotations


class ControllerError(Exception):
    """Base of them all."""


class RefusedError(ControllerError):
    """What the user asks for can't be done as it is; nothing was patched.  `reason` is that of the Event."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ApiError(ControllerError):
    """The Kubernetes API answered with an error, or not at all (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AdminError(ControllerError):
    """A sidecar's admin answered with an error, or not at all (`status` 0).  `reason` is that of the Event."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = {0: "AdminUnreachable", 401: "AdminRefusedToken"}.get(status, "AdminRefused")
