"""What a broken connection still holds is read. asyncio's own loop writes at once: the write fails before the read."""

from __future__ import annotations

import asyncio

from tests.interceptor.fakes import ok, turn
from tests.interceptor.lanes import rig
from tests.interceptor.target import Connection


async def test_nothing_is_sent_on_a_connection_of_which_only_the_rest_is_read() -> None:
    """Else what was never sent would count as perhaps applied."""

    async def script(connection: Connection) -> None:
        await connection.requests(2)
        connection.writer.transport.pause_reading()
        widen(3)
        await turn()
        connection.write(ok(b"/1"))
        connection.writer.transport.abort()
        asyncio.get_running_loop().call_soon(widen, 4)

    def widen(window_events: int) -> None:
        target_rig.lane.window_events = window_events
        target_rig.lane.pump()

    async with rig(script) as (target_rig, _):
        target_rig.lane.window_events = 2
        target_rig.send(6)
        await target_rig.lost()
        assert target_rig.deliveries[0].ended
        assert [delivery.event.version for delivery in target_rig.lane.take_back_sent()] == [2, 3, 4]
        assert target_rig.lane.queued == 2
