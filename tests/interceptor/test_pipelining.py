"""Rule 1: only a target that is known to take pipelined requests in turn gets them (RFC 9112 §9.3.2)."""

from __future__ import annotations

import os
import subprocess

import pytest

from interceptor.pipelining import Pipelining, takes_turns
from interceptor.target import program
from tests.interceptor.fakes import ok
from tests.interceptor.lanes import rig
from tests.interceptor.target import Connection, Script

KNOWN = "Server: uvicorn"
# Node names no server, and says what needs no saying.
AS_NODE = "Connection: keep-alive\r\nKeep-Alive: timeout=5"


def counting(most: list[int], *fields: str) -> Script:
    """Answers with `fields` what is there to be answered, and notes how many requests that was."""

    async def script(connection: Connection) -> None:
        while True:
            asked = await connection.requests()
            while b"\r\n\r\n" in bytes(connection.reader._buffer):  # type: ignore[attr-defined]
                asked += await connection.requests()
            most.append(len(asked))
            for request in asked:
                connection.write(ok(request.split(" ")[1].encode(), *fields))

    return script


@pytest.mark.parametrize("fields", [AS_NODE, "Date: x", "Server: Cowboy"])
async def test_a_target_that_is_not_known_gets_one_event_at_a_time(fields: str) -> None:
    most: list[int] = []
    async with rig(counting(most, fields), Pipelining.AUTO) as (lane, _):
        for _ in range(2):
            lane.send(20)
            await lane.all_answered()
            assert lane.lane.serial
            assert lane.lane.take_back() == []
        assert most == [1] * 40


async def test_one_that_is_known_has_to_answer_once_before_it_gets_several_and_so_does_each_incarnation() -> None:
    """A replay begins with as many events as there is room for: by then it must be known."""
    most: list[int] = []
    async with rig(counting(most, KNOWN), Pipelining.AUTO) as (lane, _):
        for _ in range(2):
            most.clear()
            lane.send(20)
            await lane.all_answered()
            assert not lane.lane.serial
            assert most[0] == 1
            assert max(most) > 1
            lane.lane.take_back()


async def test_one_that_tells_on_a_later_connection_gets_several_from_then_on() -> None:
    """An error page in front of the application names nobody, say."""
    most: list[int] = []

    async def script(connection: Connection) -> None:
        await counting(most, "Date: x" if connection.number == 1 else KNOWN)(connection)

    async with rig(script, Pipelining.AUTO) as (lane, _):
        lane.send(5)
        await lane.all_answered()
        assert most == [1] * 5
        lane.lane.close_idle()
        lane.send(20)
        await lane.all_answered()
        assert max(most) > 1


async def test_one_whose_process_is_known_gets_several_from_the_first_event_on() -> None:
    """Some Python servers name nobody; a replay needs not wait for the first answer."""
    most: list[int] = []
    async with rig(counting(most, AS_NODE), Pipelining.AUTO) as (lane, _):
        lane.lane._is_known_to_take_turns = lambda: True
        for _ in range(2):
            most.clear()
            lane.send(20)
            await lane.all_answered()
            assert most == [20]
            assert not lane.lane.serial
            lane.lane.take_back()


async def test_what_the_answers_name_counts_for_more_than_the_program() -> None:
    """hypercorn is written in Python, and closes after a number of answers on what it has not read."""
    most: list[int] = []
    async with rig(counting(most, "Server: hypercorn-h11"), Pipelining.AUTO) as (lane, _):
        lane.lane._is_known_to_take_turns = lambda: True
        lane.send(5)
        await lane.all_answered()
        most.clear()
        lane.send(20)
        await lane.all_answered()
        lane.lane.take_back()
        lane.send(20)
        await lane.all_answered()
        assert most == [1] * 40


@pytest.mark.parametrize(("pipelining", "fields", "at_once"), [("on", AS_NODE, 20), ("off", KNOWN, 1)])
async def test_an_operator_who_knows_better_says_so(pipelining: str, fields: str, at_once: int) -> None:
    most: list[int] = []
    async with rig(counting(most, fields), Pipelining(pipelining)) as (lane, _):
        lane.send(20)
        await lane.all_answered()
        assert max(most) == at_once
        assert lane.lane.serial == (pipelining == "off")


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ("Server: uvicorn", True),
        ("server:gunicorn", True),
        ("SERVER: gunicorn/23.0", True),
        ("Server: hypercorn-h11", False),  # closes on what it has not read
        ("Server: Mojolicious (Perl)", False),
        ("Server: waitress", True),
        ("Server: Python/3.11 aiohttp/3.14.5", True),
        ("Server: BaseHTTP/0.6 Python/3.11.7", True),
        ("Server: nginx/1.22.1", True),
        ("Server: uvicorns", None),
        ("Server: my-uvicorn", None),
        ("Server: Cowboy", None),
        ("Via: 1.1 nginx", None),
        ("X-Server: nginx", None),
    ],
)
def test_which_names_are_known(field: str, known: bool | None) -> None:
    """RFC 9110 §10.2.4: products, separated by space, each perhaps with a version."""
    assert takes_turns(f"HTTP/1.1 200 OK\r\nDate: x\r\n{field}\r\nContent-Length: 0\r\n\r\n".encode()) is known


def test_which_programs_are_known() -> None:
    assert program.takes_turns(os.getpid())
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            assert not program.takes_turns(other.pid)
        finally:
            other.kill()
    assert not program.takes_turns(other.pid), "it has ended"
