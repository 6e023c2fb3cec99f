"""Unrecorded reads that are under way when the target dies."""

from __future__ import annotations

import asyncio

from interceptor.settings import Detection
from interceptor.states import State
from tests.interceptor.fakes import ok, until
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


async def test_a_read_that_begins_in_the_turn_in_which_the_target_dies_waits_until_it_is_in_step() -> None:
    """Rule 2: admitted, and before its connection is made the target is suspected; whoever accepts it may be empty."""
    states: list[State] = []

    async def script(connection: Connection) -> None:
        while True:
            await connection.requests()
            states.append(machine.state)
            connection.write(ok(b"in step"))

    async with running(script, record_all=False, detection=Detection.CONNECTION) as made:
        machine = made.ambassador.machine
        await made.control("POST", "/state?state=Waiting")
        read = asyncio.create_task(made.send("/read"))
        await until(lambda: made.ambassador.admission.held == 1)
        made.ambassador.hold.release("operator")
        made.ambassador.recovery.target_exited(-9)
        assert machine.state is State.SUSPECT
        assert b"in step" in await asyncio.wait_for(read, 5.0)
        assert states == [State.ACTIVE]
        assert made.ambassador.passages.reads_in_flight == 0


async def test_a_death_that_is_noticed_late_does_not_use_up_a_reads_attempts() -> None:
    """Rule 6 and the hold queue: a dying process cuts its connections first, and is known to be dead only then."""
    noticed = False

    async def script(connection: Connection) -> None:
        await connection.requests()
        if noticed:
            connection.write(ok(b"in step"))
            return
        if len(made.target.connections) == 1:
            asyncio.get_running_loop().call_later(0.03, notice)
        connection.reset()

    def notice() -> None:
        nonlocal noticed
        noticed = True
        made.ambassador.recovery.target_exited(-9)

    async with running(script, record_all=False, detection=Detection.CONNECTION) as made:
        assert b"in step" in await asyncio.wait_for(made.send("/read"), 5.0)
        assert made.ambassador.passages.reads_in_flight == 0


async def test_a_read_whose_short_answer_breaks_off_is_asked_again_and_its_client_notices_nothing() -> None:
    """RFC 9110 §9.2.2: nothing of a short answer leaves before it is whole, so a safe request may be sent again."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        whole = ok(b"content")
        if len(made.target.connections) == 1:
            connection.write(whole[:-3])
            await connection.writer.drain()
            connection.reset()
        else:
            connection.write(whole)

    async with running(script, record_all=False) as made:
        answer = await asyncio.wait_for(made.send("/read"), 5.0)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\ncontent")
        assert made.target.asked == [["GET /read"], ["GET /read"]]
        assert made.ambassador.passages.gate.budget.memory_bytes == 0
