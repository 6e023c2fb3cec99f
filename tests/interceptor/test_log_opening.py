"""The log of a writer that is ending is waited for: the successor of a deleted Pod starts beside it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from interceptor import log_opening
from interceptor.address import Address
from interceptor.log_opening import opened_log
from interceptor.settings import Settings
from storage_backends.errors import LogLockedError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    nowhere = Address("127.0.0.1", 0)
    return Settings(nowhere, nowhere, None, f"file://{tmp_path}/log")


async def test_without_a_wait_a_second_writer_is_refused_at_once(settings: Settings) -> None:
    first = await opened_log(settings, asyncio.Event())
    try:
        with pytest.raises(LogLockedError):
            await opened_log(settings, asyncio.Event())
    finally:
        first.close()


async def test_the_log_is_taken_when_the_other_writer_has_ended(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_opening, "POLL_S", 0.0)
    patient = replace(settings, log_lock_wait_s=600.0)
    first = await opened_log(patient, asyncio.Event())
    second = asyncio.create_task(opened_log(patient, asyncio.Event()))
    while not caplog.records:  # noqa: ASYNC110 (a log line has no event)
        await asyncio.sleep(0)
    assert "Waiting for that one to end, for 600 s at most" in caplog.text
    assert not second.done()
    first.close()
    async with asyncio.timeout(30):
        (await second).close()


async def test_a_stop_ends_the_wait(settings: Settings) -> None:
    patient = replace(settings, log_lock_wait_s=600.0)
    first = await opened_log(patient, asyncio.Event())
    stop = asyncio.Event()
    stop.set()
    try:
        with pytest.raises(LogLockedError):
            await opened_log(patient, stop)
    finally:
        first.close()
