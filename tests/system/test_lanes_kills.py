"""Several lanes under real kills: exact per key, live and in the replay (rules 1 to 3)."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from counting import Clients, applied, start_counter
from support import Processes, RunningInterceptor

StartInterceptor = Callable[..., RunningInterceptor]


@pytest.mark.parametrize("order", ["key:path:/counters/{key}", "arrival"])
async def test_a_target_with_several_lanes_that_is_killed_again_and_again(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path, order: str
) -> None:
    """Each client has a counter of its own and waits for each answer, so additions of different clients commute."""
    chance = random.Random(5)
    target = start_counter(processes)
    interceptor = start_interceptor(target, "--log", f"file://{tmp_path}/log", "--order", order, "--lanes", "6")
    clients = Clients(interceptor, 20)
    for _ in range(4):
        await clients.acknowledged(chance.randrange(20, 200))
        assert target.process is not None
        target.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(target.process.wait)
        target = await asyncio.to_thread(start_counter, processes, target.port)
    await clients.acknowledged(20)
    seen = await clients.finish()
    assert (seen.refused, seen.broken) == ([], [])
    operations = applied(target)
    assert sorted(operations) == sorted(seen.acknowledged), "each acknowledged operation once, and no other"
    state = await asyncio.to_thread(interceptor.state)
    assert (state["quarantined"], state["uncertain"]) == ([], None)
    if order != "arrival":
        assert seen.wrong == []
        assert state["last_recovery"]["divergences"] == 0
        for client in range(20):
            of_client = [int(each.partition("-")[2]) for each in operations if each.startswith(f"{client}-")]
            assert of_client == sorted(of_client), "a client's operations changed their order"
    assert state["order"] == order
