"""The log, opened; where another writer has it still, once that one has let go."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from interceptor.settings import Settings
from storage_backends import open_log
from storage_backends.backend import LogBackend
from storage_backends.errors import LogLockedError

logger = logging.getLogger(__name__)

POLL_S = 0.25


async def opened_log(settings: Settings, stop: asyncio.Event) -> LogBackend:
    """Return the log, started.  Raises its errors; LogLockedError after `log_lock_wait_s`, or at once on `stop`.

    Whoever replaces a Pod starts the next one beside the one that ends.  An exit would be answered with a back-off
    that outlasts the other writer by far.
    """
    deadline_s = asyncio.get_running_loop().time() + settings.log_lock_wait_s
    waiting = False
    while True:
        try:
            return await _opened(settings)
        except LogLockedError as error:
            if stop.is_set() or asyncio.get_running_loop().time() >= deadline_s:
                raise
            if not waiting:
                logger.warning("%s. Waiting for that one to end, for %g s at most", error, settings.log_lock_wait_s)
            waiting = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await stop.wait()


async def _opened(settings: Settings) -> LogBackend:
    backend = open_log(
        settings.log_url,
        key_file=settings.log_key_file,
        compression=settings.log_compression,
        **settings.log_options,
    )
    try:
        await backend.start()
    except BaseException:
        backend.close()
        raise
    return backend
