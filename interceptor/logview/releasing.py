"""Taking an event out of quarantine in a log that nobody writes to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import time_ns

from interceptor.logview.errors import LogViewError
from interceptor.quarantine import RELEASED, not_quarantined
from storage_backends import open_log
from storage_backends.errors import LogError
from storage_backends.records import Mark


async def release_event(log_url: str, key_file: Path | None, version: int) -> None:
    """Release a quarantined event: the next incarnation gets it.  Raises LogViewError and LogError (a log in use)."""
    log = open_log(log_url, key_file=key_file)
    try:
        await log.start()
        facts = log.load_facts()
        listed = facts.get("quarantined")
        versions = [each for each in listed if isinstance(each, int)] if isinstance(listed, list) else []
        if version not in versions:
            raise LogViewError(not_quarantined(version, versions))
        log.append([Mark(RELEASED, log.last_version, time_ns(), {"event": version})])
        synced: asyncio.Future[LogError | None] = asyncio.get_running_loop().create_future()
        log.sync(synced.set_result)
        if (error := await synced) is not None:
            raise error
        log.store_facts({**facts, "quarantined": [each for each in versions if each != version]})
    finally:
        log.close()
