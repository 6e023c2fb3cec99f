"""Hold or refuse while the target is away (rule 3: what gets 503 has no version and never will)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from interceptor.limits import Limits
from interceptor.states import Cause, State
from tests.interceptor.running import Running, running


@asynccontextmanager
async def away(**settings: Any) -> AsyncIterator[Running]:
    """An ambassador that has just recovered and has lost its target again."""
    async with running(**settings) as at:
        await at.send("/before")
        await at.ambassador.recovery.stop()
        at.ambassador.machine.apply(Cause.TARGET_LOST)
        assert at.ambassador.machine.state is State.AWAITING
        yield at


async def test_a_target_that_dies_again_too_soon_is_not_waited_for() -> None:
    async with away(limits=Limits(recovery_min_interval_s=3600.0)) as at:
        answer = await at.send("/again")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"recovery_min_interval_s" in answer
        assert at.ambassador.journal.last_version == 1
        samples = await at.metrics()
        assert samples["interceptor_holds_ended_total|too_soon"] == 1
        assert samples["interceptor_limit_reached_total|recovery_min_interval_s"] == 1
        at.ambassador.machine.apply(Cause.TARGET_READY)
        at.ambassador.machine.apply(Cause.IN_STEP)
        assert (await at.send("/after")).startswith(b"HTTP/1.1 200")


async def test_a_dry_run_holds_nothing_and_counts_what_it_would_have_held() -> None:
    async with away(hold_dry_run=True) as at:
        assert b"--hold-dry-run" in await at.send("/a")
        assert (await at.metrics())["interceptor_holds_ended_total|dry_run"] == 1


async def test_an_operators_hold_holds_in_a_dry_run_too() -> None:
    async with running(hold_dry_run=True) as at:
        await at.control("POST", "/state?state=Waiting")
        assert at.ambassador.admission._refuse_closed is None
        await at.control("POST", "/state?state=Active")
