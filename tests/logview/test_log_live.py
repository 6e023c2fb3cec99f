"""On a log that a real interceptor is writing: nothing is disturbed, and what comes is seen."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from bench.processes import free_port
from tests.interceptor.target import ScriptedTarget, echo
from tests.storage_backends.test_postgres_server import Server, server  # noqa: F401

WAIT_S = 15.0


async def interceptor(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "interceptor", *arguments, stdout=PIPE, stderr=PIPE
    )


async def command(*arguments: str) -> str:
    process = await interceptor("log", *arguments)
    out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0, err.decode()
    assert b"Traceback" not in err
    return out.decode()


@asynccontextmanager
async def running(log_url: str) -> AsyncIterator[str]:
    """A real interceptor in front of an echo; yields the URL for clients."""
    async with ScriptedTarget(echo) as target:
        admin, port = f"127.0.0.1:{free_port()}", free_port()
        process = await interceptor(
            "run", "--target", f"http://{target.address}", "--listen", f"127.0.0.1:{port}", "--admin", admin,
            "--log", log_url,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_S):
                while not await is_active(session, admin):
                    assert process.returncode is None, (await process.communicate())[1].decode()
                    await asyncio.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.communicate(), WAIT_S)


async def is_active(session: aiohttp.ClientSession, admin: str) -> bool:
    try:
        async with session.get(f"http://{admin}/state") as answer:
            return bool((await answer.json())["state"] == "Active")
    except aiohttp.ClientError:
        return False


@pytest.fixture(params=["file", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a log of each kind that others can read."""
    if request.param == "file":
        return f"file:{tmp_path}/log"
    database: Server = request.getfixturevalue("server")
    return database.url("live", schema="live")


async def test_a_live_log_is_followed_shown_and_verified(url: str) -> None:
    async with running(url) as application, aiohttp.ClientSession() as session:

        async def send(first: int, last: int) -> None:
            for number in range(first, last + 1):
                async with session.post(f"{application}/item/{number}") as answer:
                    assert answer.status == 200

        await send(1, 20)
        following = await interceptor("log", "tail", "-f", "-n", "3", "--json", "--log", url)
        assert following.stdout is not None

        async def line() -> dict[str, object]:
            assert following.stdout is not None
            return dict(json.loads(await asyncio.wait_for(following.stdout.readline(), WAIT_S)))

        assert [(await line())["version"] for _ in range(3)] == [18, 19, 20]
        traffic = asyncio.create_task(send(21, 400))
        shown, verified, listed, counted = await asyncio.gather(
            command("show", "--last", "5", "--json", "--log", url),
            command("verify", "--json", "--log", url),
            command("ls", "--json", "--log", url),
            command("stats", "--json", "--log", url),
        )
        assert len(shown.splitlines()) == 5
        assert json.loads(verified)["good"] is True
        assert [row["state"] for row in json.loads(listed)] == ["open"]
        assert json.loads(counted)["events"] >= 20
        await traffic
        seen = [await line() for _ in range(380)]
        assert [event["version"] for event in seen] == list(range(21, 401))
        assert [event["target"] for event in seen] == [f"/item/{number}" for number in range(21, 401)]
        assert {event["outcome"]["status"] for event in seen if isinstance(event["outcome"], dict)} == {200}
        following.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(following.communicate(), WAIT_S)
        assert following.returncode == 0, err.decode()
        assert b"Traceback" not in err
        assert json.loads(await command("verify", "--json", "--log", url))["last_version"] == 400
    assert json.loads(await command("verify", "--json", "--log", url))["unanswered_events"] == 0


async def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(f"file:{log}") as application, aiohttp.ClientSession() as session:
        await session.post(f"{application}/x")
    process = await asyncio.create_subprocess_shell(
        f"for i in 1 2 3; do {sys.executable} -m interceptor log show --body --log file:{log}; done | head -1",
        stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert out.decode().startswith(" version")
    assert err == b""
