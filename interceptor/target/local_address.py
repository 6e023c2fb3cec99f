"""Whether a host is this machine, and the addresses behind a host name.

Both may ask a resolver and block, so they belong before the event loop, not into it.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def addresses_of(host: str) -> list[IPAddress]:
    """The IP addresses that connecting to `host` would try, in that order, each once.

    A wildcard stands for the loopback of its family and a v4-mapped address for its IPv4 address, as the kernel
    has it. Families that this machine lacks are left out. Raises OSError for a name of which nothing remains.
    """
    found: dict[IPAddress, None] = {}
    for _, _, _, _, sockaddr in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        address = parsed(str(sockaddr[0]))
        if address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
        if _has_family(address):
            found[address] = None
    if not found:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT), host)
    return list(found)


def is_local_address(host: str) -> bool:
    """True if every address of `host` is loopback or belongs to this machine (more exactly: network namespace).

    A name that does not resolve is not local. Where the sysctl ip_nonlocal_bind is on, every address looks local.
    """
    try:
        addresses = addresses_of(host)
    except OSError:
        return False
    return all(address.is_loopback or _can_bind(address) for address in addresses)


def parsed(text: str) -> IPAddress:
    """The address in a socket's name: without its zone, and as IPv4 where that is what it stands for."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_loopback(host: str) -> bool:
    """True if only this machine can connect to a socket that is bound to `host`."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(where[0]).partition("%")[0]).is_loopback for *_, where in found)


def family_of(address: IPAddress) -> socket.AddressFamily:
    """The address family of sockets for this address."""
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _has_family(address: IPAddress) -> bool:
    try:
        socket.socket(family_of(address), socket.SOCK_STREAM).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True


def _can_bind(address: IPAddress) -> bool:
    try:
        with socket.socket(family_of(address), socket.SOCK_STREAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
