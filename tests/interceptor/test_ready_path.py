"""--ready-path: a target that answers 503 while it starts is waited for, never replayed into."""

from __future__ import annotations

from interceptor.limits import Limits
from tests.interceptor.fakes import ok, until
from tests.interceptor.running import running
from tests.interceptor.target import Connection


class Starting:
    """Answers /ready with 503 until `ready`, everything else with its path."""

    def __init__(self) -> None:
        self.ready = False
        self.polls = 0

    async def script(self, connection: Connection) -> None:
        while True:
            (request,) = await connection.requests()
            if request != "GET /ready":
                connection.write(ok(request.encode()))
            else:
                self.polls += 1
                connection.write(ok(status="200 OK" if self.ready else "503 Service Unavailable"))


async def test_a_target_that_answers_503_while_it_starts_gets_nothing_until_it_is_ready() -> None:
    starting = Starting()
    async with running(starting.script, wait=False, ready_path="/ready") as at:
        await until(lambda: starting.polls > 3)
        assert (await at.control("GET", "/state")).json["state"] == "Waiting"
        assert {request for asked in at.target.asked for request in asked} == {"GET /ready"}
        starting.ready = True
        await at.active()
        assert b"GET /a" in await at.send("/a")


async def test_one_that_does_not_get_ready_in_time_is_reported_and_waited_for() -> None:
    starting = Starting()
    async with running(starting.script, wait=False, ready_path="/ready", limits=Limits(ready_timeout_s=0.05)) as at:
        await until(lambda: at.ambassador.recovery.standing.problem is not None)
        state = (await at.control("GET", "/state")).json
        assert "not ready after 0.05 s: GET /ready is answered 'HTTP/1.1 503" in state["problem"]
        assert (await at.metrics())["interceptor_limit_reached_total|ready_timeout_s"] == 1
        starting.ready = True
        await at.active()
        assert (await at.control("GET", "/state")).json["problem"] is None
