"""Unix sockets on both sides: the listener's file, and targets that are told apart by it."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from interceptor.address import UnixAddress
from interceptor.errors import ConfigurationError
from tests.interceptor.fakes import get
from tests.interceptor.running import running

LAST = get("/x", "Connection: close")


async def test_requests_over_a_unix_socket_whose_file_ends_with_us(tmp_path: Path) -> None:
    path = tmp_path / "listen.sock"
    async with running(listen=UnixAddress(str(path)), listen_unix_mode=0o600) as at:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(LAST)
        assert (await reader.read()).endswith(b"/x")
        writer.close()
        assert str(at.ambassador.listen_address) == f"unix:{path}"
    assert not path.exists()


async def test_a_file_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "listen.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with running(listen=UnixAddress(str(path))):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(LAST)
        assert (await reader.read()).endswith(b"/x")
        writer.close()


async def test_a_socket_in_use_and_a_file_that_is_none_stay(tmp_path: Path) -> None:
    """Rule 8: nothing touched."""
    used, file = tmp_path / "used.sock", tmp_path / "file"
    file.write_text("precious")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(used))
        other.listen()
        for path in (used, file):
            with pytest.raises(ConfigurationError, match="--listen"):
                async with running(listen=UnixAddress(str(path))):
                    pass
        other.setblocking(False)
        other.accept()[0].close()
    assert used.exists()
    assert file.read_text() == "precious"


async def test_the_file_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "listen.sock"
    async with running(listen=UnixAddress(str(path))):
        os.unlink(path)
        successor = socket.socket(socket.AF_UNIX)
        successor.bind(str(path))
    assert path.exists()
    successor.close()
