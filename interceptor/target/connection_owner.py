"""Who has the other end of a local connection: has the application accepted it, and which process is that?

The kernel answers for every connection whether its far end was accepted: until then it waits in the listener's queue
and has no inode (NETLINK_SOCK_DIAG).  No privilege is needed.  The process is found by that inode in /proc, where its
descriptors may be read: our own user's processes of our own PID namespace.
"""

from __future__ import annotations

import enum
import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from interceptor.target.incarnation import process_identity
from interceptor.target.local_address import family_of, parsed
from interceptor.target.netlink_diag import INET_REPLY, ask_for_one, inet_query, open_netlink

_ESTABLISHED = 1
_SYN_RECV = 3
_LISTEN = 10
_ALL_STATES = 0xFFFFFFFF


class Acceptance(enum.Enum):
    """What has become of a connection at its far end, where it has no inode."""

    QUEUED = "it waits until the application accepts it"
    DEFERRED = "the kernel shows it to the application once the first bytes are there (TCP_DEFER_ACCEPT)"
    HIDDEN = "it can't be seen: another machine or network namespace, or no netlink"


def accepted_inode(connection: socket.socket) -> int | Acceptance:
    """Return the inode of the far end of our TCP connection, once the application has accepted it."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return Acceptance.HIDDEN
    try:
        near, far = connection.getsockname(), connection.getpeername()
        with open_netlink() as netlink:
            reply = ask_for_one(netlink, _question(near, far))
    except OSError:
        return Acceptance.HIDDEN
    if reply is None:
        return Acceptance.HIDDEN
    _, state, *_, inode = INET_REPLY.unpack_from(reply)
    if inode and state != _LISTEN:
        return int(inode)
    return {_ESTABLISHED: Acceptance.QUEUED, _SYN_RECV: Acceptance.DEFERRED}.get(state, Acceptance.HIDDEN)


def owner_of(inode: int, proc: str = "/proc") -> int | None:
    """Return the process that has the socket open, None if none can be seen; of a process and its forks, the eldest.

    Reads the descriptors of all processes that may be read: milliseconds where there are hundreds.
    """
    wanted = f"socket:[{inode}]"
    # The youngest first: an application that has just started is among them.
    pids = sorted((int(name) for name in os.listdir(proc) if name.isdigit()), reverse=True)
    owner = _first_holder(pids, wanted, proc)
    while owner is not None and (parent := _parent_of(owner, proc)) and _holds(parent, wanted, proc):
        owner = parent
    return owner


def serving_identity(pid: int) -> str:
    """Return an identity that only this process has, on this boot and in this PID namespace.  Raises OSError."""
    return f"{os.stat('/proc/self/ns/pid').st_ino}:{process_identity(pid)}"


def is_gone(identity: str) -> bool:
    """Whether the process that `serving_identity` named has ended for certain; false where that can't be known."""
    namespace, _, process = identity.partition(":")
    if namespace != str(os.stat("/proc/self/ns/pid").st_ino):
        return False
    try:
        # A zombie has given its descriptors and its memory back.
        pid = int(process.split(":")[2])
        return process_identity(pid) != process or _state_of(pid) in ("Z", "X")
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False


def _question(near: tuple[str, int], far: tuple[str, int]) -> bytes:
    near_address, far_address = parsed(near[0]), parsed(far[0])
    # The far end's view: what is its source is our peer.
    return inet_query(family_of(far_address), _ALL_STATES, (far[1], far_address.packed), (near[1], near_address.packed))


def _first_holder(pids: Iterable[int], wanted: str, proc: str) -> int | None:
    return next((pid for pid in pids if pid != os.getpid() and _holds(pid, wanted, proc)), None)


def _holds(pid: int, wanted: str, proc: str) -> bool:
    try:
        with os.scandir(f"{proc}/{pid}/fd") as descriptors:
            return any(_link(descriptor.path) == wanted for descriptor in descriptors)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return False


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _parent_of(pid: int, proc: str) -> int:
    try:
        return int(_stat(pid, proc)[1])
    except OSError:
        return 0


def _state_of(pid: int) -> str:
    return _stat(pid, "/proc")[0]


def _stat(pid: int, proc: str) -> list[str]:
    stat = Path(f"{proc}/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return stat[stat.rindex(")") + 2 :].split()
