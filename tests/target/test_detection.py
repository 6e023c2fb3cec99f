"""Identities: equal exactly as long as the same life goes on."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from interceptor.target.detection import (
    ConnectionDetector,
    DeathDetector,
    ListenerDetector,
    SupervisedDetector,
)
from interceptor.target.incarnation import (
    connection_identity,
    inode_of,
    listener_identity,
    process_identity,
)
from interceptor.target.listener_inode import ListeningSocket


class FakeSupervisor:
    identity: str | None = None


def test_identities_read_twice_are_equal() -> None:
    assert process_identity(os.getpid()) == process_identity(os.getpid())
    assert inode_of(listener_identity(17)) == 17
    assert inode_of("listener:another-boot:1:17") is None
    assert inode_of(connection_identity()) is None
    assert connection_identity() != connection_identity()


def test_no_process_no_identity() -> None:
    with pytest.raises(FileNotFoundError):
        process_identity(2**22 + 1)


def test_listener_detector_sees_each_life(port: int, start_target: Callable) -> None:
    detector: DeathDetector = ListenerDetector(ListeningSocket("127.0.0.1", port))
    assert detector.look() is None
    first = start_target(port)
    identity = detector.look()
    with socket.create_connection(("127.0.0.1", port)):
        assert detector.look() == identity
    detector.connection_lost()
    assert detector.look() == identity
    again = ListenerDetector(ListeningSocket("127.0.0.1", port))
    assert again.look() == identity
    again.close()
    first.kill()
    assert detector.look() is None
    start_target(port)
    assert detector.look() not in (None, identity)
    detector.close()


def test_listener_detector_finds_the_known_one_of_several_again() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as known:
        where = known.getsockname()
        identity = listener_identity(os.fstat(known.fileno()).st_ino)
        others = [socket.create_server(where, reuse_port=True) for _ in range(5)]
        detector = ListenerDetector(ListeningSocket(*where), known=identity)
        assert detector.look() == identity
        detector.close()
        for other in others:
            other.close()


def test_supervised_without_a_local_port_is_the_process() -> None:
    supervisor = FakeSupervisor()
    detector: DeathDetector = SupervisedDetector(supervisor)
    assert detector.look() is None
    supervisor.identity = "process:b:1:1"
    assert detector.look() == "process:b:1:1"
    detector.close()


def test_supervised_is_there_once_it_listens_and_until_its_process_ends(port: int) -> None:
    supervisor = FakeSupervisor()
    detector = SupervisedDetector(supervisor, ListeningSocket("127.0.0.1", port))
    supervisor.identity = "process:b:1:1"
    assert detector.look() is None
    with socket.create_server(("127.0.0.1", port)):
        identity = detector.look()
        assert identity is not None
        assert identity.startswith("process:b:1:1:")
    assert detector.look() == identity
    supervisor.identity = "process:b:2:2"
    assert detector.look() is None
    supervisor.identity = None
    assert detector.look() is None
    detector.close()


def test_supervised_child_that_starts_the_application_anew_is_another_incarnation(port: int) -> None:
    supervisor = FakeSupervisor()
    supervisor.identity = "process:b:1:1"
    detector = SupervisedDetector(supervisor, ListeningSocket("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)):
        identity = detector.look()
    with socket.create_server(("127.0.0.1", port)):
        assert detector.look() not in (None, identity)
    detector.close()


def test_connection_detector_dies_with_each_connection() -> None:
    detector: DeathDetector = ConnectionDetector()
    identity = detector.look()
    assert detector.look() == identity
    detector.connection_lost()
    assert detector.look() != identity
    assert detector.awaits_connection
    detector.close()
