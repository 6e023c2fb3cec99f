"""Forgets objects that vanished while nobody watched.

When a watch has expired (410 Gone: an API server was restarted, or a connection was away for minutes), kopf lists again
and tells what there is.  It does not tell what is not there any more, and keeps it.  So after each such list, and every
few minutes, the uids are asked for and compared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from controller.api import Api
from controller.errors import ApiError
from controller.queue import Key
from controller.view import View

logger = logging.getLogger(__name__)

# The lists of all kinds come together, after an API server was away.
SETTLE_S = 1.0
PERIOD_S = 300.0
# After an API server that does not answer.
AGAIN_S = 5.0


class Sweep:
    """`namespaces`: empty for all.  `resources`: group, version and plural by kind.  `vanished` is told of each."""

    def __init__(
        self,
        view: View,
        api: Api,
        namespaces: tuple[str, ...],
        resources: Mapping[str, tuple[str, str, str]],
        vanished: Callable[[Key, Mapping[str, Any]], None],
    ) -> None:
        self._view = view
        self._api = api
        self._namespaces = namespaces or ("",)
        self._resources = resources
        self._tell = vanished
        self._due = asyncio.Event()

    def soon(self) -> None:
        """Have it done: something was listed."""
        self._due.set()

    async def run(self) -> None:
        """Compare until cancelled."""
        while True:
            try:
                async with asyncio.timeout(PERIOD_S):
                    await self._due.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(SETTLE_S)
            self._due.clear()
            for kind in self._resources:
                try:
                    await self._compare(kind)
                except ApiError as error:
                    logger.warning("what has vanished is not known yet: %s", error)
                    self._due.set()
                    await asyncio.sleep(AGAIN_S)
                    break

    async def _compare(self, kind: str) -> None:
        group, _, plural = self._resources[kind]
        # In this order: what is made meanwhile is in the second alone.
        seen = self._view.by_uid(kind) if self._view.indices else {}
        present: set[str] = set()
        for namespace in self._namespaces:
            present |= await self._api.uids(group, plural, namespace)
        gone = {uid: each for uid, each in seen.items() if uid not in present}
        self._view.forget_vanished(kind, set(gone))
        for each in gone.values():
            self._tell(Key(kind, each["metadata"]["namespace"], each["metadata"]["name"]), each)
