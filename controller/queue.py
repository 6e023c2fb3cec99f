"""A queue of objects to look at: each at most once at a time, after a failure again with growing pauses.

It keeps names, not what happened: whoever looks at an object reads how it is now.  So nothing is lost with the queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import NamedTuple

from controller.errors import ControllerError
from controller.metrics import Metrics

logger = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 30.0


class Key(NamedTuple):
    """An object's name."""

    kind: str
    namespace: str
    name: str


# Of those at work at the same time: who asks sidecars waits for them, some of which do not answer or take a checkpoint.
WORKERS = {"Pod": 64, "Checkpoint": 64}
WORKERS_OTHERWISE = 8

# Looks at an object; returns after how many seconds it is to be looked at again, None for when it changes.
Reconcile = Callable[[Key], Awaitable[float | None]]


class WorkQueue:
    """`run` works off what `add` brings.  Each kind has workers of its own, so that none keeps the others waiting."""

    def __init__(self, reconcile: Reconcile, metrics: Metrics, kinds: Iterable[str]) -> None:
        self._reconcile = reconcile
        self._metrics = metrics
        self._ready: dict[str, asyncio.Queue[Key]] = {kind: asyncio.Queue() for kind in kinds}
        self._waiting: set[Key] = set()
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Have an object looked at soon; again, if it is being looked at."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready[key.kind].put_nowait(key)
            self._metrics.queue.set(len(self._waiting))

    def _add_later(self, key: Key, after_s: float) -> None:
        self._timers[key] = asyncio.get_running_loop().call_later(after_s, self.add, key)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for kind, ready in self._ready.items():
                    for _ in range(WORKERS.get(kind, WORKERS_OTHERWISE)):
                        group.create_task(self._work(ready))
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _work(self, ready: asyncio.Queue[Key]) -> None:
        while True:
            key = await ready.get()
            self._waiting.discard(key)
            self._metrics.queue.set(len(self._waiting))
            self._busy.add(key)
            try:
                after_s = await self._look(key)
            finally:
                self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif after_s is not None:
                self._add_later(key, after_s)

    async def _look(self, key: Key) -> float | None:
        begun_s = perf_counter()
        try:
            after_s = await self._reconcile(key)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            if not isinstance(error, ControllerError):
                logger.exception("looking at %s %s/%s failed", *key)
            elif failures == 1:
                logger.warning("%s %s/%s: %s", *key, error)
            self._metrics.reconciles.labels(key.kind, "error").inc()
            return min(BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 20), BACKOFF_MAX_S)
        finally:
            self._metrics.reconcile_seconds.labels(key.kind).observe(perf_counter() - begun_s)
        self._failures.pop(key, None)
        self._metrics.reconciles.labels(key.kind, "ok").inc()
        return after_s
