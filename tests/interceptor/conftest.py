"""Fixtures of this directory: a fake log, a client, counters, and the parts of the data plane around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from interceptor.admission import Admission
from interceptor.counters import Counters
from interceptor.exchange import RecordedExchange
from interceptor.journal import Durability, Journal
from interceptor.limits import Limits
from interceptor.release_gate import ReleaseGate
from interceptor.sequencer import Sequencer
from interceptor.server_tls import TlsFiles
from tests.certificates import Authority
from tests.interceptor.fake_log import FakeBackend
from tests.interceptor.fakes import FakeClient, FakePassages, ManualClock, get

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
BOTH_LOOPS = (
    "test_lane.py",
    "test_lane_acceptance.py",
    "test_lane_losses.py",
    "test_lane_streams.py",
    "test_recovery.py",
    "test_recovery_projection.py",
    "test_first_contact.py",
    "test_listener_tls.py",
    "test_tls_closing.py",
    "test_listener_proxy.py",
    "test_listener_limits.py",
    "test_connection_flood.py",
    "test_unix_sockets.py",
    "test_target_addresses.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Production runs on uvloop: tests with sockets run in both loops, the others in the default one."""
    return LOOPS if item.path.name in BOTH_LOOPS else {"asyncio": LOOPS["asyncio"]}


@dataclass
class DataPlane:
    """Admission, sequencer, journal and gate around a fake log; what is delivered is kept."""

    backend: FakeBackend
    durability: Durability = Durability.STRICT
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.counters = Counters()
        loop = asyncio.get_running_loop()
        self.journal = Journal(
            self.backend, loop, self.durability, self.limits.relaxed_window_ms, self.counters,
            self.limits.commit_delay_us,
        )  # fmt: skip
        self.gate = ReleaseGate(self.journal, self.counters, self.limits)
        self.delivered: list[RecordedExchange] = []
        self.batches: list[list[RecordedExchange]] = []
        self.sequencer = Sequencer(self.journal, loop, self._deliver)
        self.gate.sequencer = self.sequencer
        self.passages = FakePassages()
        self.admission = Admission(self.sequencer, self.passages, self.limits, self.counters)  # type: ignore[arg-type]
        self.client = FakeClient()

    def request(self, path: str = "/", body: bytes = b"", client: FakeClient | None = None, *, http11: bool = True,
                keep_alive: bool = True, method: str = "GET") -> RecordedExchange:  # fmt: skip
        """Return a request of `client`, by default of one that all share."""
        client = client or self.client
        exchange = RecordedExchange(
            client, self.gate, get(path, method=method), body, http11, keep_alive, method == "HEAD",  # type: ignore[arg-type]
        )  # fmt: skip
        client.exchanges.append(exchange)
        return exchange

    def _deliver(self, batch: list[RecordedExchange]) -> None:
        self.batches.append(batch)
        self.delivered.extend(batch)


MakePlane = Callable[..., DataPlane]


@pytest.fixture
def make_plane() -> MakePlane:
    """Make a DataPlane; keyword arguments are limits, and `durability` and `backend`. No sync waits, unless told to."""

    def make(
        durability: Durability = Durability.STRICT, backend: FakeBackend | None = None, **limits: float
    ) -> DataPlane:
        set_limits = Limits(**{"commit_delay_us": 0} | limits)  # type: ignore[arg-type]
        return DataPlane(backend or FakeBackend(), durability, set_limits)

    return make


@pytest.fixture
async def plane(make_plane: MakePlane) -> DataPlane:
    """A strict data plane, closed to traffic."""
    return make_plane()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """A clock in place of `monotonic` in the modules that measure waits."""
    manual = ManualClock()
    for module in ("admission", "exchange", "journal", "lane_connection", "release_gate"):
        monkeypatch.setattr(f"interceptor.{module}.monotonic", manual)
    return manual


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority of the test's own."""
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority) -> TlsFiles:
    """What a listener on loopback shows."""
    return TlsFiles("--tls", *authority.sign("server", "localhost", "127.0.0.1"))
