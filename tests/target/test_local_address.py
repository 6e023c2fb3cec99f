"""Which hosts are this machine, and who holds a port of it."""

from __future__ import annotations

import os
import socket

import pytest

from interceptor.target.errors import PortTakenError
from interceptor.target.local_address import addresses_of, is_local_address
from interceptor.target.port_check import ensure_port_is_free


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "0.0.0.0", "localhost"])
def test_local(host: str) -> None:
    assert is_local_address(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "no-such-host.invalid"])
def test_not_local(host: str) -> None:
    assert not is_local_address(host)


def test_wildcards_and_mapped_addresses_mean_what_the_kernel_makes_of_them() -> None:
    assert [str(address) for address in addresses_of("0.0.0.0")] == ["127.0.0.1"]
    assert [str(address) for address in addresses_of("::")] == ["::1"]
    assert [str(address) for address in addresses_of("::ffff:192.0.2.7")] == ["192.0.2.7"]


def test_free_port(port: int) -> None:
    ensure_port_is_free("127.0.0.1", port)


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
def test_port_with_a_listener_is_refused(bound: str) -> None:
    with socket.create_server((bound, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"127.0.0.1:{port}: process {os.getpid()} holds") as caught:
            ensure_port_is_free("127.0.0.1", port)
        assert caught.value.inode == os.fstat(listener.fileno()).st_ino
        assert caught.value.pid == os.getpid()


def test_port_that_is_only_bound_is_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(PortTakenError, match="another process holds"):
            ensure_port_is_free("127.0.0.1", bound.getsockname()[1])
