"""Unrecorded reads that are under way when the target dies."""

from __future__ import annotations

import asyncio

from interceptor.settings import Detection
from interceptor.states import State
from tests.interceptor.fakes import ok
from tests.interceptor.running import running
from tests.interceptor.target import Connection


async def test_a_read_that_a_successor_answers_before_it_is_in_step_is_asked_again() -> None:
    """Rule 2: a prefork master keeps the socket, so the next worker accepts what the last one had not."""
    asked, successor = asyncio.Event(), asyncio.Event()
    lanes: list[Connection] = []

    async def script(connection: Connection) -> None:
        while True:
            (request,) = await connection.requests()
            if request.startswith("POST"):
                lanes.append(connection)
                connection.write(ok(b"written"))
            elif not asked.is_set():
                asked.set()
                await successor.wait()
                connection.write(ok(b"empty"))
            else:
                connection.write(ok(b"in step"))

    async with running(script, record_all=False, detection=Detection.CONNECTION) as made:
        assert b"written" in await made.send("/write", method="POST")
        read = asyncio.create_task(made.send("/read"))
        await asked.wait()
        lanes[-1].writer.close()
        await made.ambassador.machine.wait_for(lambda state: state is not State.ACTIVE, 5.0)
        successor.set()
        assert b"in step" in await asyncio.wait_for(read, 5.0)
        assert made.ambassador.passages.reads_in_flight == 0
