"""The writer's task: one transaction after another, and patience while the database is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from storage_backends.errors import LogError, LogFailedError
from storage_backends.postgres.driver import Connection, cut
from storage_backends.postgres.faults import Patience, described, passes
from storage_backends.postgres.ledger import Ledger
from storage_backends.postgres.session import open_session

logger = logging.getLogger("storage_backends.postgres")


class Writer:
    """Owns the connection that holds the lock.  `trouble` says why nothing is committed now, if so."""

    def __init__(
        self,
        ledger: Ledger,
        connection: Connection,
        on_committed: Callable[[], None],
        on_failed: Callable[[LogError], None],
    ) -> None:
        self._ledger = ledger
        self._connection: Connection | None = connection
        self._on_committed = on_committed
        self._on_failed = on_failed
        self._wake = asyncio.Event()
        self.trouble: str | None = None
        connection.add_termination_listener(self._lost)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"writer of {ledger.address.place}")
        self._task.add_done_callback(self._ended)

    def request(self) -> None:
        """Look at the ledger: something is due."""
        self._wake.set()

    def stop(self) -> None:
        """End the task and the connection, now."""
        self._task.remove_done_callback(self._ended)
        self._task.cancel()
        self._drop()

    async def _run(self) -> None:
        ledger = self._ledger
        patience = Patience(ledger.address.commit_timeout_s)
        while True:
            try:
                async with asyncio.timeout(patience.limit_s) as limit:
                    connection = await self._connected()
                    if ledger.due:
                        await ledger.write(connection)
                    else:
                        limit.reschedule(None)
                        patience.reset()
                        await self._idle()
                        continue
            except Exception as error:
                self._drop()
                if not passes(error):
                    raise
                self._note(error)
                await patience.after(error)
            else:
                patience.reset()
                self._on_committed()

    async def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._drop()
        connection = await open_session(self._ledger.address)
        try:
            await self._ledger.reclaim(connection)
        except BaseException:
            cut(connection)
            raise
        connection.add_termination_listener(self._lost)
        self._connection = connection
        logger.warning("%s: the database is back", self._ledger.address.place)
        self.trouble = None
        # What was in doubt may be known to be committed now.
        self._on_committed()
        return connection

    async def _idle(self) -> None:
        await self._wake.wait()
        self._wake.clear()

    def _lost(self, connection: Connection) -> None:
        # With the session the lock is gone, so it is taken again at once and not at the next request.
        if connection is self._connection:
            self._wake.set()

    def _note(self, error: Exception) -> None:
        if self.trouble is None:
            logger.warning(
                "%s: the database does not take records now, they wait in memory: %s",
                self._ledger.address.place,
                described(error),
            )
        self.trouble = described(error)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            cut(connection)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            # The event loop itself is ending; nobody is left to be told.
            self._drop()
            return
        error = task.exception()
        if isinstance(error, LogFailedError):
            self._on_failed(error)
        else:
            what = "its task ended" if error is None else f"{type(error).__name__}: {described(error)}"
            place = self._ledger.address.place
            self._on_failed(LogFailedError(f"{place} can't be written any more, and trying again won't help: {what}"))
