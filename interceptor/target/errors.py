"""What can go wrong with the target, said so that a person can act on it."""

from __future__ import annotations

from interceptor.errors import InterceptorError


class TargetError(InterceptorError):
    """Base of all errors of this package.

    where: the command, address or file concerned. what: what is wrong. remedy: what to do about it.
    """

    def __init__(self, where: str, what: str, remedy: str) -> None:
        super().__init__(f"{where}: {what}. {remedy}")
        self.where = where
        self.what = what
        self.remedy = remedy


class TargetStartError(TargetError):
    """The target's command could not be started, or must not be started."""


class PortTakenError(TargetStartError):
    """Somebody listens already where the target is going to listen. `inode` and `pid` are None if unknown."""

    def __init__(self, where: str, inode: int | None, pid: int | None) -> None:
        holder = f"process {pid}" if pid is not None else "another process"
        kind = "socket" if where.startswith("unix:") else "port"
        socket = f" (socket inode {inode})" if inode is not None else ""
        super().__init__(
            where,
            f"{holder} holds this {kind} already{socket}",
            "End that process, or run without a command to protect it as it is",
        )
        self.inode = inode
        self.pid = pid


class ListenerUnreadableError(TargetError):
    """The kernel does not say who listens, so a death of the target could not be told from a closed connection."""
