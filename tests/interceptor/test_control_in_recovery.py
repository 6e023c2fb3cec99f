"""Control while a recovery is under way, and of what a recovery has left out."""

from __future__ import annotations

import asyncio
from pathlib import Path

from click.testing import CliRunner

from interceptor.cli.log import log_group
from interceptor.states import State
from tests.interceptor.fakes import ok, until
from tests.interceptor.running import running
from tests.interceptor.target import Connection, Script


def answering_when(may_answer: asyncio.Event) -> Script:
    async def script(connection: Connection) -> None:
        while True:
            (request,) = await connection.requests()
            await may_answer.wait()
            connection.write(ok(request.encode()))

    return script


async def test_a_hold_that_is_asked_for_during_a_projection_stands_once_the_target_is_in_step() -> None:
    """Rule 4: it answers when everything is delivered and answered; what comes meanwhile stays held."""
    may_answer = asyncio.Event()
    may_answer.set()
    async with running(answering_when(may_answer)) as at:
        await at.send("/a")
        may_answer.clear()
        at.target.restart()
        await until(lambda: at.ambassador.machine.state is State.PROJECTING)
        waiting = asyncio.ensure_future(at.control("POST", "/state?state=Waiting"))
        sending = asyncio.ensure_future(at.send("/b"))
        await until(lambda: at.ambassador.hold.causes and at.ambassador.admission.held == 1)
        assert not waiting.done()
        may_answer.set()
        assert (await waiting).status == 200
        state = (await at.control("GET", "/state")).json
        assert (state["state"], state["holds"], state["versions"]["last"], state["held"]) == (
            "Waiting", ["operator"], 1, 1,
        )  # fmt: skip
        assert not sending.done()
        assert (await at.control("POST", "/state?state=Active")).status == 200
        assert b"GET /b" in await sending


async def test_a_projection_asked_for_while_the_target_is_drained_is_none_into_the_same_incarnation() -> None:
    """Rule 3: whether it holds every event already is seen when nothing is in flight any more, not when it is asked."""
    may_answer = asyncio.Event()
    async with running(answering_when(may_answer)) as at:
        sending = asyncio.ensure_future(at.send("/a"))
        await until(lambda: len(at.target.asked) == 1)
        waiting = asyncio.ensure_future(at.control("POST", "/state?state=Waiting"))
        await until(lambda: at.ambassador.machine.state is State.DRAINING)
        projecting = asyncio.ensure_future(at.control("POST", "/reproject"))
        await until(lambda: "reproject" in at.ambassador.hold.causes)
        may_answer.set()
        assert (await waiting).status == 200
        assert (await projecting).json["already_in_step"]
        assert b"GET /a" in await sending
        assert at.target.asked == [["GET /a"]]


async def test_unquarantine_asks_a_running_interceptor_by_its_admin_and_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    async with running(admin_token="s3cret") as at:
        quarantined = at.ambassador.recovery.quarantined.versions
        quarantined.add(1)
        asked = ["unquarantine", "1", "--admin", str(at.admin.address)]
        refused = await asyncio.to_thread(CliRunner().invoke, log_group, asked)
        assert (refused.exit_code, quarantined) == (1, {1})
        asked += ["--admin-token-file", str(tmp_path / "token")]
        done = await asyncio.to_thread(CliRunner().invoke, log_group, asked)
        assert done.exit_code == 0, done.output
        assert "event 1 is taken out of quarantine" in done.output
        assert quarantined == set()
