"""The incarnation by a boot id that the application reports: `GET PATH` is answered with what it chose at its start.

What a remote target's connections tell is only that they were closed.  Its word is what counts here, and only its
word: an id that was asked for after the event in question.  No answer, or none that is 2xx, is no verdict, because a
network, a proxy or a busy application looks the same; the question is asked again until somebody answers.

A new connection may lead to another incarnation than the last.  So the id is asked for after it was made: one
application at one address, whose ids never come back, is then at both ends of that time the same.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from time import monotonic

from interceptor.address import Target
from interceptor.counters import Counters
from interceptor.limits import Limits
from interceptor.target.one_get import NoAnswerError, get_content
from interceptor.tasks import TaskGroup

logger = logging.getLogger(__name__)

# A UUID has 36; what is much longer is a page, and not an id.
BOOT_ID_BYTES_MAX = 256
_BOOT_ID = re.compile(rb"[!-~]+(?: [!-~]+)*")
_PAUSE_MIN_S = 0.002
# After failures the next question waits for this share of the time since the first.
_PAUSE_SHARE = 1 / 8


class BootIdDetector:
    """Implements DeathDetector.  `look` says who answered last, to a question put in the right order."""

    awaits_connection = False

    def __init__(self, target: Target, path: str, limits: Limits, counters: Counters) -> None:
        # Why the last question got no id, None if it got one.
        self.problem: str | None = None
        self._target = target
        self._path = path
        self._limits = limits
        self._counters = counters
        self._on_change: Callable[[], None] | None = None
        self._identity: str | None = None
        self._asked = 0
        self._told = 0
        self._failing_since_s: float | None = None
        self._tasks = TaskGroup("boot id")

    def start(self, on_change: Callable[[], None]) -> None:
        """Ask each `boot_id_poll_s` from now on; `on_change` is called when another incarnation answers."""
        self._on_change = on_change
        self._tasks.start(self._poll())

    async def stop(self) -> None:
        """Ask no more."""
        await self._tasks.cancel_all()

    async def ask(self) -> bool:
        """See DeathDetector.  Takes `boot_id_timeout_s` at most; after failures it waits before it asks."""
        if self._failing_since_s is not None:
            since_s = monotonic() - self._failing_since_s
            await asyncio.sleep(min(max(since_s * _PAUSE_SHARE, _PAUSE_MIN_S), self._limits.boot_id_poll_s))
        self._asked += 1
        number = self._asked
        try:
            boot_id = await self._get()
        except NoAnswerError as error:
            self._failed(str(error))
            return False
        self._failing_since_s = self.problem = None
        # What was asked for earlier may come later.
        if number > self._told:
            self._told = number
            self._take(f"boot-id:{self._target.authority}:{boot_id}")
        return True

    def look(self) -> str | None:
        """See DeathDetector; None before the first answer."""
        return self._identity

    def connection_lost(self) -> None:
        """Says nothing: the judgement asks."""

    def close(self) -> None:
        """Nothing is held."""

    async def _get(self) -> str:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.boot_id_timeout_s):
                status, content = await get_content(self._target, self._path, BOOT_ID_BYTES_MAX)
        except TimeoutError:
            self._counters.limits_reached["boot_id_timeout_s"] += 1
            raise NoAnswerError(f"no answer within {limits.boot_id_timeout_s:g} s") from None
        if not 200 <= status < 300:
            raise NoAnswerError(f"it is answered {status}")
        boot_id = content.strip()
        if _BOOT_ID.fullmatch(boot_id) is None:
            raise NoAnswerError("its content is no id: expected 1 to 256 visible ASCII characters")
        return boot_id.decode("ascii")

    def _take(self, identity: str) -> None:
        before, self._identity = self._identity, identity
        if before not in (None, identity) and self._on_change is not None:
            self._on_change()

    def _failed(self, reason: str) -> None:
        self._counters.boot_id_failures += 1
        if self._failing_since_s is None:
            self._failing_since_s = monotonic()
        problem = f"GET {self._path} at {self._target}: {reason}"
        if problem != self.problem:
            self.problem = problem
            logger.warning("%s; without the boot id nothing is concluded, it is asked for again", problem)

    async def _poll(self) -> None:
        while True:
            await self.ask()
            await asyncio.sleep(self._limits.boot_id_poll_s)
