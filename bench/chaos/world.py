"""One run's processes: a target, an interceptor with its log, and clients; and what is read from them."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.chaos.client import Client
from bench.chaos.database import Database, the_database
from bench.chaos.disk import FaultyDisk, SmallDisk, compiled_library, mounted_disk
from bench.chaos.expectation import Expectation
from bench.chaos.history import Applied, FinalState, History, Logged, Quiet, Window
from bench.chaos.incarnations import Target
from bench.chaos.plan import LANES, Plan
from bench.chaos.proxy import Proxy, ProxyError, ask
from bench.chaos.target.application import JOURNAL_PATH, READY_PATH, STATE_PATH
from bench.processes import free_port
from storage_backends import open_log
from storage_backends.records import Event

ACTIVE_TIMEOUT_S = 60.0
CLIENTS_TIMEOUT_S = 70.0
PAUSE_S = 0.02
NOTICE_LOOKS, NOTICE_PAUSE_S = 40, 0.05
# More than the log of a run takes, so that only the fault fills it.
DISK_MIB = 48


class World:
    """Everything of one run.  Use as `async with World(…) as world`."""

    def __init__(self, plan: Plan, launcher: Sequence[str], directory: Path) -> None:
        self.plan = plan
        self.history = History(keyed=plan.keyed, unrecorded_reads=plan.unrecorded_reads)
        self.epoch = 0
        self._stack = AsyncExitStack()
        self._directory = directory
        log = directory / "log"
        self.small_disk: SmallDisk | None = None
        if plan.small_disk:
            self.small_disk = self._stack.enter_context(mounted_disk(directory / "disk", DISK_MIB))
            log = self.small_disk.directory / "log"
        self.database: Database | None = None
        self._log_url = f"file://{log}"
        if plan.postgres:
            self.database = the_database(directory.parent)
            self._log_url = self.database.url(directory.name)
        self.disk = FaultyDisk(compiled_library(directory), log, directory / "triggers")
        self.target = Target(plan.kind, free_port(), directory, supervised=plan.supervised)
        self.proxy = Proxy(
            launcher, self._options(), self.target.command if plan.supervised else (), self.disk.environment, directory
        )
        self.clients = [
            Client(number, self.proxy.port, f"client {plan.seed} {number}", lambda: self.epoch, PAUSE_S, plan.read_mark)
            for number in range(plan.clients)
        ]
        self.aside = Client(plan.clients, self.proxy.port, f"aside {plan.seed}", lambda: self.epoch, PAUSE_S)
        self._working: list[asyncio.Task[None]] = []
        self.recoveries = 0
        self.restores = 0
        self._last_recovery: object = None

    def _options(self) -> list[str]:
        plan = self.plan
        options = ["--target", f"http://127.0.0.1:{self.target.port}", "--log", self._log_url]
        options += ["--hold-time-max-s", str(plan.hold_s)]
        if plan.keyed:
            options += ["--order", "key:path:/*/{key}", "--lanes", str(LANES)]
        if plan.unrecorded_reads:
            options += ["--record", "unsafe"]
        if plan.checkpoints:
            options += ["--checkpoint-engine", "http", "--checkpoint-path", STATE_PATH, "--checkpoint-interval", "1"]
            options += ["--checkpoint-every-events", "25"]
        if plan.ready_path:
            options += ["--ready-path", READY_PATH]
        if plan.kind.prefork:
            options += ["--detect", "connection"]
        if not plan.supervised:
            options += ["--on-unclean", "wait" if plan.wait_on_unclean else "assume-applied"]
        return options

    async def __aenter__(self) -> World:
        try:
            await self.target.start()
            self.proxy.start()
            await self.proxy.until_active(ACTIVE_TIMEOUT_S)
            self._working = [asyncio.create_task(client.run()) for client in self.clients]
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def _end(self) -> None:
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        self.proxy.stop()
        await self.target.stop()
        await self._stack.aclose()

    @property
    def acknowledged(self) -> int:
        return sum(client.acknowledged for client in self.clients)

    async def progress(self, more: int) -> None:
        """Return when so many more operations were acknowledged.  Raises ProxyError where that does not happen."""
        wanted = self.acknowledged + more
        deadline = time.monotonic() + ACTIVE_TIMEOUT_S
        while self.acknowledged < wanted:
            if time.monotonic() > deadline:
                raise ProxyError(f"no progress in {ACTIVE_TIMEOUT_S:g} s; {await self.proxy.state()}")
            await asyncio.sleep(0.002)

    async def settle(self) -> dict[str, Any]:
        """Return the state once it is Active, as an operator would bring it about where one is needed."""
        try:
            state = await self.proxy.until_active(ACTIVE_TIMEOUT_S)
        except ProxyError as error:
            if "needs an operator" not in str(error):
                raise
            state = await self._operate()
        if state["last_recovery"] is not None and state["last_recovery"] != self._last_recovery:
            self._last_recovery = state["last_recovery"]
            self.recoveries += 1
            self.restores += state["last_recovery"]["from"] > 1
            self.history.divergences += state["last_recovery"]["divergences"]
        return state

    async def _operate(self) -> dict[str, Any]:
        """What the message asks for: a new target, and where nothing can tell that it is new, an operator's word."""
        pid = self.target.pid
        if self.plan.kind.prefork:
            self.target.kill_all()
        else:
            self.target.signal(9)
        await self.target.until_another(pid)
        await self.target.until_listening()
        if self.plan.kind.prefork and await self._still_asks():
            await ask(self.proxy.admin_port, "POST", "/reproject?from=1")
        return await self.proxy.until_active(ACTIVE_TIMEOUT_S, with_an_operator=True)

    async def _still_asks(self) -> bool:
        """Whether it has not noticed by itself that the target is new; projecting twice would apply all twice."""
        for _ in range(NOTICE_LOOKS):
            if (await self.proxy.state())["problem"] is None:
                return False
            await asyncio.sleep(NOTICE_PAUSE_S)
        return True

    def excuse(self, fault: str, begin_ns: int, expected: Expectation) -> None:
        """Note that a fault was at work since then."""
        window = Window(fault, begin_ns, time.monotonic_ns(), expected.statuses, expected.cuts)
        self.history.windows.append(window)

    async def quiet(self, reason: str) -> None:
        """Hold and drain; look whether the target holds exactly what the version says, and goes on holding it."""
        await self.proxy.set_state("Waiting")
        try:
            # Asked for while there is no target, it comes about once the next one is in step.
            state = await self.proxy.until_held(ACTIVE_TIMEOUT_S)
            first = await self.journal()
            # Longer than the slowest order (control.SLOW_S): what was not drained shows.
            await asyncio.sleep(0.2)
            second = await self.journal()
        finally:
            await self.proxy.set_state("Active")
        versions, grew = state["versions"], len(second["applied"]) != len(first["applied"])
        quiet = Quiet(versions["last"], len(first["applied"]), state["in_flight"], grew, reason)
        self.history.quiets.append(quiet)

    async def journal(self) -> dict[str, Any]:
        """Return what the target says that it holds; asked directly."""
        return await ask(self.target.port, "GET", JOURNAL_PATH)

    async def finish(self) -> History:
        """Let the clients have their last answers, then read target and log."""
        history = self.history
        for client in self.clients:
            client.stopping = True
        async with asyncio.timeout(CLIENTS_TIMEOUT_S):
            await asyncio.gather(*self._working)
        await self.settle()
        # What clients have left behind may still be under way.
        await self.proxy.set_state("Waiting")
        state = await self.proxy.until_held(ACTIVE_TIMEOUT_S)
        history.final = _final_state(await self.journal())
        history.quarantined = state["quarantined"]
        if state["uncertain"] is not None:
            history.uncertain.append(tuple(state["uncertain"]))
        status = await self.proxy.terminate()
        if status != 0:
            history.notes.append(f"the interceptor ended with {status} after SIGTERM")
        said = self.proxy.output.read_text(errors="replace")
        if "Traceback" in said:
            history.notes.append(f"a traceback: {said[said.index('Traceback') :][:2000]}")
        history.log = await read_log(self._log_url)
        for client in (*self.clients, self.aside):
            history.operations += client.operations
        return history


def _final_state(journal: dict[str, Any]) -> FinalState:
    applied = [Applied(identifier, crc) for identifier, crc in journal["applied"]]
    return FinalState(applied, journal["counters"], journal["registers"], journal["lists"])


async def read_log(url: str) -> list[Logged]:
    """Return the events of a log that nobody writes to any more."""
    log = open_log(url)
    await log.start()
    events: list[Logged] = []
    reader = log.reader(log.first_version)
    try:
        while records := await reader.next_batch(4_096, 1 << 22):
            events += [_logged(record) for record in records if isinstance(record, Event)]
    finally:
        reader.close()
        log.close()
    return events


def _logged(event: Event) -> Logged:
    target = event.head.split(b" ", 2)[1].decode()
    body = event.body
    if b"\r\ntransfer-encoding:" in event.head.lower():
        body = _dechunked(body)
    return Logged(event.version, parse_qs(urlsplit(target).query)["op"][0], zlib.crc32(body))


def _dechunked(data: bytes) -> bytes:
    parts: list[bytes] = []
    position = 0
    while True:
        line_end = data.index(b"\r\n", position)
        size = int(data[position:line_end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(data[line_end + 2 : line_end + 2 + size])
        position = line_end + 2 + size + 2
