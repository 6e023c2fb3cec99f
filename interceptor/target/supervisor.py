"""Keeping the target's process alive: start it, notice its death at once, start it again.

Plain callbacks of the event loop: the child's pidfd is a reader of the loop, and a restart that has to wait is a
timer. Before a restart, what is left of the dead child's process group is killed, since it would keep the port.

A child can also be brought back in another way than by its command (`bring_back`), from an image of its memory; that is
tried each time before the command is started.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from interceptor.target.child_process import ChildProcess, Spawning
from interceptor.target.errors import TargetStartError
from interceptor.target.restart_backoff import RestartBackoff
from interceptor.tasks import TaskGroup

logger = logging.getLogger(__name__)

_GROUP_POLL_S = 0.001
# Killed processes die within milliseconds; one that hangs in the kernel must not hold up the restart for ever.
_GROUP_GONE_TIMEOUT_S = 1.0


class Timer(Protocol):
    """What a scheduled call can be."""

    def cancel(self) -> None:
        """Do not call."""


Schedule = Callable[[float, Callable[[], None]], Timer]


class _AfterExit(enum.Enum):
    RESTART_WITH_BACKOFF = enum.auto()
    RESTART_AT_ONCE = enum.auto()
    STAY_DOWN = enum.auto()
    REST = enum.auto()


class Supervisor:
    """Runs one command, again and again. Use it from the thread and in the loop in which start() was called."""

    def __init__(
        self,
        command: Sequence[str],
        on_exit: Callable[[int], None] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        restart_backoff_min_s: float = 0.1,
        restart_backoff_max_s: float = 2.0,
        restart_reset_after_s: float = 10.0,
        now: Callable[[], float] = time.monotonic,
        schedule: Schedule | None = None,
    ) -> None:
        """on_exit(returncode): called at each death (-n: by signal n), before the child is started again.

        now, schedule: clock in seconds and timer for the back-off; the loop's own by default.
        """
        # Calls adopt() and returns true where there is a child then; false: the command is to be started.
        self.bring_back: Callable[[], Awaitable[bool]] | None = None
        self.spawning = Spawning()
        self._command = list(command)
        self._on_exit = on_exit
        self._env = env
        self._cwd = cwd
        self._backoff = RestartBackoff(restart_backoff_min_s, restart_backoff_max_s, restart_reset_after_s)
        self._now = now
        self._schedule = schedule
        self._child: ChildProcess | None = None
        self._clearing = False
        self._timer: Timer | None = None
        self._after_exit = _AfterExit.STAY_DOWN
        self._started_at = 0.0
        self._lived_s = 0.0
        self._gone = asyncio.Event()
        self._attempted = asyncio.Event()
        self._starts = 0
        self._start_failures = 0
        self._last_exit: int | None = None
        self._bringing: asyncio.Task[None] | None = None
        self._tasks = TaskGroup("the supervisor")

    @property
    def running(self) -> bool:
        """A child runs and has not been condemned by restart()."""
        return self._child is not None and self._after_exit not in (_AfterExit.RESTART_AT_ONCE, _AfterExit.REST)

    @property
    def pid(self) -> int | None:
        """Process id, and process group id, of the running child."""
        return self._child.pid if self._child is not None and self.running else None

    @property
    def identity(self) -> str | None:
        """Identity of the running child, "process:…"."""
        return self._child.identity if self._child is not None and self.running else None

    @property
    def starts(self) -> int:
        """How often the command has been started."""
        return self._starts

    @property
    def start_failures(self) -> int:
        """How often a restart has failed because the command could not be executed."""
        return self._start_failures

    @property
    def last_exit(self) -> int | None:
        """Exit code of the last child that died (-n: by signal n)."""
        return self._last_exit

    def start(self) -> None:
        """Start the child and keep it alive from now on. Raises TargetStartError if the command cannot be executed."""
        if self._after_exit is not _AfterExit.STAY_DOWN or self._child is not None or self._clearing:
            raise RuntimeError("the supervisor is already running")
        self._spawn()
        self._after_exit = _AfterExit.RESTART_WITH_BACKOFF

    async def bring_up(self) -> None:
        """Like start(), and the child is brought back where that can be done."""
        self._after_exit = _AfterExit.RESTART_WITH_BACKOFF
        try:
            if self.bring_back is None or not await self.bring_back():
                self._spawn()
        except BaseException:
            self._after_exit = _AfterExit.STAY_DOWN
            raise

    def adopt(self, pid: int) -> None:
        """Keep alive a child of ours that `bring_back` has made; it leads a group.  Raises OSError."""
        self._watch(ChildProcess.adopt(pid))

    async def rest(self) -> None:
        """Kill the child and its group, and do not start it again before wake(); returns once all of it is gone.

        From this call on, `running` is false.  Raises TargetStartError if no child runs.
        """
        if self._child is None or self._after_exit is not _AfterExit.RESTART_WITH_BACKOFF:
            raise TargetStartError(" ".join(self._command), "it does not run", "Wait until it does")
        self._after_exit = _AfterExit.REST
        self._child.signal_group(signal.SIGKILL)
        await self._gone.wait()

    def wake(self) -> None:
        """Bring the child back after rest()."""
        if self._after_exit is not _AfterExit.REST:
            return
        if self._child is None and not self._clearing:
            self._start_again()
        else:
            self._after_exit = _AfterExit.RESTART_AT_ONCE

    async def restart(self) -> None:
        """Kill the child and its group and start it again without back-off; returns once that was attempted.

        From this call on, `running` is false and `identity` None until the new child is there. Raises
        TargetStartError if the supervisor is stopped or stopping.
        """
        while self._bringing is not None:
            await self._attempted.wait()
        if self._after_exit is _AfterExit.STAY_DOWN:
            raise TargetStartError(" ".join(self._command), "the supervisor is stopped", "Start it first")
        if self._child is None and not self._clearing:
            self._start_again()
            return
        attempted = self._attempted
        if self._child is not None:
            self._child.signal_group(signal.SIGKILL)
        self._after_exit = _AfterExit.RESTART_AT_ONCE
        await attempted.wait()

    async def stop(self, grace_s: float) -> None:
        """End the child for good: SIGTERM to its group, and SIGKILL to what is left after `grace_s` seconds."""
        self._after_exit = _AfterExit.STAY_DOWN
        self._cancel_timer()
        if self._bringing is not None:
            await self._tasks.cancel_all()
            self._bringing = None
            self._announce_attempt()
        if self._child is not None:
            self._child.signal_group(signal.SIGTERM)
        elif not self._clearing:
            return
        try:
            await asyncio.wait_for(self._gone.wait(), grace_s)
        except TimeoutError:
            if self._child is not None:
                self._child.signal_group(signal.SIGKILL)
            await self._gone.wait()

    def child_has_proved_itself(self) -> None:
        """The child works: should it die, then not because it can't start, and its restart need not wait."""
        self._backoff.reset()

    def send_signal(self, number: int) -> bool:
        """Forward a signal to the child itself. False if none runs."""
        if self._child is None or not self.running:
            return False
        self._child.send_signal(number)
        return True

    def _spawn(self) -> None:
        self._watch(ChildProcess.start(self._command, self._env, self._cwd, self.spawning))

    def _watch(self, child: ChildProcess) -> None:
        self._child = child
        self._started_at = self._now()
        self._starts += 1
        self._gone.clear()
        asyncio.get_running_loop().add_reader(child.pidfd, self._child_died, child)

    def _child_died(self, child: ChildProcess) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(child.pidfd)
        self._last_exit = child.reap()
        self._lived_s = self._now() - self._started_at
        self._child = None
        self._clearing = True
        try:
            if self._on_exit is not None:
                self._on_exit(self._last_exit)
        finally:
            self._clear_group(child, loop.time() + _GROUP_GONE_TIMEOUT_S)

    def _clear_group(self, child: ChildProcess, give_up_at: float) -> None:
        loop = asyncio.get_running_loop()
        if not child.group_is_gone() and loop.time() < give_up_at:
            loop.call_later(_GROUP_POLL_S, self._clear_group, child, give_up_at)
            return
        self._clearing = False
        self._gone.set()
        match self._after_exit:
            case _AfterExit.RESTART_WITH_BACKOFF:
                self._start_after(self._backoff.delay_s(self._lived_s))
            case _AfterExit.RESTART_AT_ONCE:
                self._start_again()
            case _AfterExit.STAY_DOWN | _AfterExit.REST:
                self._announce_attempt()

    def _start_after(self, delay_s: float) -> None:
        if delay_s == 0.0:
            self._start_again()
            return
        schedule = self._schedule or asyncio.get_running_loop().call_later
        self._timer = schedule(delay_s, self._start_again)

    def _start_again(self) -> None:
        self._cancel_timer()
        self._after_exit = _AfterExit.RESTART_WITH_BACKOFF
        if self.bring_back is not None:
            self._bringing = self._tasks.start(self._bring_back_or_spawn(self.bring_back))
        else:
            self._spawn_or_retry()

    async def _bring_back_or_spawn(self, bring_back: Callable[[], Awaitable[bool]]) -> None:
        back = False
        try:
            back = await bring_back()
        except Exception as error:
            # Whatever it was, the command and a replay from the beginning are the way that always works.
            logger.error("the target could not be brought back; it is started", exc_info=error)
        self._bringing = None
        if back:
            self._announce_attempt()
        else:
            self._spawn_or_retry()

    def _spawn_or_retry(self) -> None:
        try:
            self._spawn()
        except TargetStartError as error:
            self._start_failures += 1
            logger.warning("the target was not started again (failure %d): %s", self._start_failures, error)
            self._start_after(self._backoff.delay_s(0.0))
        finally:
            self._announce_attempt()

    def _announce_attempt(self) -> None:
        attempted, self._attempted = self._attempted, asyncio.Event()
        attempted.set()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
