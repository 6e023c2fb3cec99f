"""--tag-requests: an application that talks to others learns what it is replaying."""

from __future__ import annotations

import re

from interceptor.message import Tagger, plain, tagged_head
from storage_backends.records import Event
from tests.interceptor.fakes import FakeDelivery, event, get, heads, ok, until
from tests.interceptor.running import running
from tests.interceptor.target import Connection, ScriptedTarget

RECORDED_NS = 1_795_304_762_168_208_987


class Keeping:
    """Answers every request, and keeps the heads."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def script(self, connection: Connection) -> None:
        while True:
            head = await connection.reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            connection.asked.extend(heads(head))
            connection.write(ok())


def test_without_the_option_an_event_leaves_as_it_is_in_the_log() -> None:
    """Rule 5."""
    deliveries = [FakeDelivery(event(1, body=b"x")), FakeDelivery(event(2))]
    assert plain(deliveries) == b"".join(each.event.head + each.event.body for each in deliveries)


def test_what_a_client_sends_under_our_names_is_taken_out() -> None:
    claimed = ["Interceptor-Replay: 1", "interceptor_version: 7", "INTERCEPTOR-Recorded-At: never"]
    claimed += ["Interceptor-Own: 1", "Idempotency-Key: k"]
    head = tagged_head(Event(3, RECORDED_NS, get("/", *claimed), b""), replay=False)
    assert head == get("/", "Interceptor-Own: 1", "Idempotency-Key: k", "Interceptor-Version: 3",
                       "Interceptor-Recorded-At: 2026-11-21T23:46:02.168208Z")  # fmt: skip


def test_a_live_event_that_an_earlier_incarnation_may_have_got_is_a_replay() -> None:
    tagger = Tagger()
    first, second = FakeDelivery(event(1)), FakeDelivery(event(2))
    assert b"Interceptor-Replay" not in tagger.tagged([first])
    again = tagger.tagged([first, second])
    assert again.count(b"Interceptor-Replay: 1\r\n") == 1
    assert again.index(b"Interceptor-Replay") < again.index(b"Interceptor-Version: 2")


async def test_a_scratch_copy_gets_the_same_requests_as_replays() -> None:
    live, copied = Keeping(), Keeping()
    async with running(live.script, tag_requests=True) as at, ScriptedTarget(copied.script) as copy:
        await at.send("/a", "/b", fields=("Interceptor-Replay: 1",))
        done = await at.control("POST", f"/reproject?target=http://{copy.address}")
        assert done.json["events"] == 2
        await until(lambda: len(copied.heads) == 2)
    assert [re.findall(rb"Interceptor-(\w+): (\d+)\r", head) for head in live.heads] == [
        [(b"Version", b"1")], [(b"Version", b"2")],
    ]  # fmt: skip
    assert [head.replace(b"Interceptor-Replay: 1\r\n", b"") for head in copied.heads] == live.heads
    assert all(b"Interceptor-Replay: 1\r\n" in head for head in copied.heads)


async def test_an_unrecorded_request_can_not_claim_to_be_a_replay() -> None:
    live = Keeping()
    async with running(live.script, tag_requests=True, record_all=False) as at:
        await at.send("/read", fields=("Interceptor-Replay: 1",))
        assert b"Interceptor" not in live.heads[0]
