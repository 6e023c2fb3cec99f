"""The listening socket's inode, read in both ways from the kernel at hand."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest

from interceptor.target import listener_inode
from interceptor.target.errors import ListenerUnreadableError
from interceptor.target.listener_inode import ListeningSocket, finds_a_listener, listening_inode
from interceptor.target.proc_net import ProcNetLookup, listeners_come_first, listening_sockets
from interceptor.target.socket_diag import NetlinkLookup

WAYS = [NetlinkLookup, ProcNetLookup]
Way = type[NetlinkLookup] | type[ProcNetLookup]
needs_ipv6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")


def inode_of(listener: socket.socket) -> int:
    return os.fstat(listener.fileno()).st_ino


def find(way: Way, host: str, port: int, known: int | None = None) -> int | None:
    lookup = way(ip_address(host), port)
    try:
        return lookup.find(known)
    finally:
        lookup.close()


def listen_v6(address: str, port: int = 0, *, v6_only: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
    listener.bind((address, port))
    listener.listen()
    return listener


@pytest.fixture
def many_connections() -> Iterator[tuple[socket.socket, int]]:
    """A listener with as many established connections as descriptors allow, up to 5,000 (10,000 sockets)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 11_000), hard))
    count = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500) // 2
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        for _ in range(min(count, 5_000)):
            stack.enter_context(socket.create_connection(listener.getsockname()))
            stack.enter_context(listener.accept()[0])
        yield listener, min(count, 5_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("way", WAYS)
class TestBothWays:
    def test_pass_their_own_check(self, way: Way) -> None:
        assert finds_a_listener(way)

    @pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
    def test_find_exact_and_wildcard(self, way: Way, bound: str) -> None:
        with socket.create_server((bound, 0)) as listener:
            assert find(way, "127.0.0.1", listener.getsockname()[1]) == inode_of(listener)

    def test_another_address_is_not_ours(self, way: Way) -> None:
        with socket.create_server(("127.0.0.2", 0)) as listener:
            assert find(way, "127.0.0.1", listener.getsockname()[1]) is None

    def test_bound_but_not_listening_is_nothing(self, way: Way) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            assert find(way, "127.0.0.1", bound.getsockname()[1]) is None

    @needs_ipv6
    @pytest.mark.parametrize("bound", ["::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"])
    def test_ipv6_sockets_serve_ipv4(self, way: Way, bound: str) -> None:
        with listen_v6(bound, v6_only=False) as listener:
            assert find(way, "127.0.0.1", listener.getsockname()[1]) == inode_of(listener)

    @needs_ipv6
    @pytest.mark.parametrize("bound", ["::", "::1"])
    def test_ipv6(self, way: Way, bound: str) -> None:
        with listen_v6(bound, v6_only=True) as listener:
            assert find(way, "::1", listener.getsockname()[1]) == inode_of(listener)

    def test_stays_when_connections_come_and_go(self, way: Way) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            before = find(way, "127.0.0.1", listener.getsockname()[1])
            with socket.create_connection(listener.getsockname()), listener.accept()[0]:
                assert find(way, "127.0.0.1", listener.getsockname()[1]) == before
            assert find(way, "127.0.0.1", listener.getsockname()[1]) == before

    def test_only_connections_left_is_nothing(self, way: Way) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        where = listener.getsockname()
        with socket.create_connection(where), listener.accept()[0]:
            listener.close()
            assert find(way, *where) is None

    def test_known_one_of_several_stays_until_it_is_closed(self, way: Way) -> None:
        with ExitStack() as stack:
            workers = [stack.enter_context(socket.create_server(("127.0.0.1", 0), reuse_port=True))]
            where = workers[0].getsockname()
            known = inode_of(workers[0])
            for _ in range(7):
                workers.append(stack.enter_context(socket.create_server(where, reuse_port=True)))
                assert find(way, *where, known) == known
            workers.pop().close()
            assert find(way, *where, known) == known
            workers.pop(0).close()
            assert find(way, *where, known) in [inode_of(worker) for worker in workers]

    def test_user_nobody_can_read_it(self, way: Way) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can become nobody")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                os.write(write, str(find(way, *listener.getsockname())).encode())
                os._exit(0)
            os.close(write)
            with os.fdopen(read) as answer:
                assert int(answer.read()) == inode_of(listener)
            assert os.waitpid(child, 0)[1] == 0


@needs_ipv6
def test_v6_only_wildcard_does_not_serve_ipv4() -> None:
    with listen_v6("::", v6_only=True) as listener:
        assert listening_inode("127.0.0.1", listener.getsockname()[1]) is None


def test_each_start_has_another_inode(port: int, start_target: Callable) -> None:
    seen = set()
    for _ in range(3):
        target = start_target(port)
        seen.add(listening_inode("127.0.0.1", port))
        target.kill()
        assert listening_inode("127.0.0.1", port) is None
    assert len(seen) == 3
    assert None not in seen


def test_multipath_tcp_listener_is_found() -> None:
    try:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    except OSError:
        pytest.skip("no MPTCP here")
    with listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert listening_inode(*listener.getsockname()) == inode_of(listener)


def test_listeners_come_first_and_looks_stay_cheap(many_connections: tuple[socket.socket, int]) -> None:
    listener, count = many_connections
    assert count >= 100
    with socket.create_server(("127.0.0.1", 0)) as younger:
        assert listeners_come_first("/proc/net/tcp")
        assert find(ProcNetLookup, *younger.getsockname()) == inode_of(younger)
        with ListeningSocket(*listener.getsockname()) as listening:
            costs = []
            for _ in range(50):
                began = time.perf_counter()
                assert listening.inode() == inode_of(listener)
                costs.append(time.perf_counter() - began)
    assert min(costs) < 0.001  # 5 µs on an idle machine


class TestProcNetFiles:
    HEAD = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

    @staticmethod
    def line(port: int, state: str, inode: int) -> bytes:
        text = f"   0: 0100007F:{port:04X} 00000000:0000 {state} 0:0 00:0 0 0 0 {inode} 1 0 100 0 0 10 0"
        return text.ljust(149).encode() + b"\n"

    def test_lines_that_cross_blocks(self, tmp_path: Path) -> None:
        (tmp_path / "net").mkdir()
        lines = [self.line(port, "0A", port * 10) for port in range(1, 101)]
        (tmp_path / "net/tcp").write_bytes(self.HEAD + b"".join(lines))
        for port in (1, 27, 28, 55, 100):
            assert ProcNetLookup(ip_address("127.0.0.1"), port, str(tmp_path)).find(None) == port * 10

    def test_stops_at_the_first_connection(self, tmp_path: Path) -> None:
        path = tmp_path / "tcp"
        path.write_bytes(self.HEAD + self.line(1, "0A", 11) + self.line(1, "01", 12) + b"not read\n")
        assert listening_sockets(str(path)) == [(b"0100007F:0001", 11)]

    def test_another_order_is_read_to_the_end(self, tmp_path: Path) -> None:
        (tmp_path / "net").mkdir()
        (tmp_path / "net/tcp").write_bytes(self.HEAD + self.line(1, "01", 11) + self.line(1, "0A", 12))
        assert not listeners_come_first(str(tmp_path / "net/tcp"))
        assert ProcNetLookup(ip_address("127.0.0.1"), 1, str(tmp_path)).find(None) == 12

    def test_missing_table_is_an_error_and_missing_ipv6_is_not(self, tmp_path: Path) -> None:
        assert listening_sockets(str(tmp_path / "tcp6")) == []
        with pytest.raises(FileNotFoundError):
            listening_sockets(str(tmp_path / "tcp"))


class TestRefusals:
    def test_a_lookup_that_fails_is_not_an_absence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_self: NetlinkLookup, _known: int | None) -> int | None:
            raise PermissionError(1, "Operation not permitted")

        with ListeningSocket("127.0.0.1", 1) as listening:
            monkeypatch.setattr(NetlinkLookup, "find", refuse)
            with pytest.raises(ListenerUnreadableError, match=r"127\.0\.0\.1:1: .*not permitted"):
                listening.inode()

    def test_falls_back_to_proc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(NetlinkLookup, "find", lambda _self, _known: None)
        assert listener_inode._way_that_works.__wrapped__() is ProcNetLookup

    def test_refuses_when_nothing_shows_listeners(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for way in WAYS:
            monkeypatch.setattr(way, "find", lambda _self, _known: None)
        with pytest.raises(ListenerUnreadableError, match="neither shows"):
            listener_inode._way_that_works.__wrapped__()

    def test_unknown_name(self) -> None:
        with pytest.raises(ListenerUnreadableError, match="does not resolve"):
            ListeningSocket("no-such-host.invalid", 80)
