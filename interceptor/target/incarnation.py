"""One life of the target, named so that we recognise it even after a restart of our own.

An identity is a string of a kind and what makes it unique. Listener and process identities are read from the kernel, so
reading them again gives the same string exactly as long as the same life goes on; the boot id keeps two boots of a
machine apart, the network namespace two Pods. A connection's identity is random: nothing outside us remembers it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def listener_identity(inode: int) -> str:
    """Identity of whoever owns this listening socket in our network namespace. Raises OSError without /proc."""
    return f"listener:{_boot_id()}:{_network_namespace()}:{inode}"


def inode_of(identity: str) -> int | None:
    """The inode in a listener identity that is from this boot and network namespace, else None."""
    prefix, _, inode = identity.rpartition(":")
    if prefix != f"listener:{_boot_id()}:{_network_namespace()}":
        return None
    return int(inode)


def process_identity(pid: int) -> str:
    """Identity of a process that exists, be it a zombie. Raises FileNotFoundError if there is none."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    start_ticks = stat[stat.rindex(")") + 2 :].split()[19]  # the name before it may contain spaces and parentheses
    return f"process:{_boot_id()}:{pid}:{start_ticks}"


def connection_identity() -> str:
    """A new identity that equals no other."""
    return f"connection:{secrets.token_hex(16)}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _network_namespace() -> int:
    return os.stat("/proc/self/ns/net").st_ino
