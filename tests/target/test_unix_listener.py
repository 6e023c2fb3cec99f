"""The listening socket at a Unix path: another one is another incarnation, whatever its name."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interceptor.address import UnixAddress
from interceptor.target.errors import ListenerUnreadableError, PortTakenError
from interceptor.target.unix_listener import UnixListeningSocket
from interceptor.target.whereabouts import ensure_nobody_listens


@contextmanager
def listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))
        opened.listen()
        yield opened


def inode(opened: socket.socket) -> int:
    return os.fstat(opened.fileno()).st_ino


def test_each_listener_has_its_own_inode_and_connections_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    looking = UnixListeningSocket(str(path))
    assert looking.inode() is None
    with listener(path) as first:
        assert looking.inode() == inode(first)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert looking.inode(inode(first)) == inode(first)
    assert looking.inode() is None
    path.unlink()
    with listener(path) as second:
        assert looking.inode() == inode(second)
    looking.close()


def test_the_file_tells_two_listeners_of_one_name_apart(tmp_path: Path) -> None:
    """A server that is being replaced still listens where nobody can connect any more."""
    path = tmp_path / "app.sock"
    looking = UnixListeningSocket(str(path))
    with listener(path) as first:
        path.unlink()
        assert looking.inode(inode(first)) is None
        with listener(path) as second:
            assert looking.inode(inode(first)) == inode(second)
    looking.close()


def test_a_relative_name_is_found_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with listener(Path("app.sock")) as opened:
        looking = UnixListeningSocket(str(tmp_path / "app.sock"))
        assert looking.inode() == inode(opened)
        looking.close()


def test_bound_and_not_listening_is_nobody_and_a_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        looking = UnixListeningSocket(str(path))
        assert looking.inode() is None
        looking.close()
    (tmp_path / "file").touch()
    looking = UnixListeningSocket(str(tmp_path / "file"))
    assert looking.inode() is None
    looking.close()


def test_a_listener_that_can_not_be_seen_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 8: in another network namespace it accepts, but the kernel doesn't list it."""
    path = tmp_path / "app.sock"
    looking = UnixListeningSocket(str(path))
    monkeypatch.setattr(UnixListeningSocket, "_listening", lambda _: iter(()))
    with listener(path), pytest.raises(ListenerUnreadableError, match="network namespace"):
        looking.inode()
    looking.close()


def test_a_path_in_use_is_refused_before_a_target_is_started(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    ensure_nobody_listens(UnixAddress(str(path)))
    with listener(path), pytest.raises(PortTakenError, match=f"unix:{path}: process {os.getpid()} holds this socket"):
        ensure_nobody_listens(UnixAddress(str(path)))
