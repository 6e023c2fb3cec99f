"""Group commit: the clients that a sync has answered are waited for, and nobody waits in vain for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from interceptor.journal import Durability
from interceptor.short_timer import ShortTimer
from tests.interceptor.conftest import MakePlane
from tests.interceptor.fakes import FakeClient, answer_of, ok, turn, until

NEVER_US = 3_600_000_000
AT_ONCE_US = 1


class Crowd:
    """Clients of a strict data plane whose target answers at once, so that only syncs decide when an answer leaves."""

    def __init__(self, make_plane: MakePlane, clients: int, delay_us: int) -> None:
        self.plane = make_plane(commit_delay_us=delay_us)
        self.plane.admission.open()
        self.clients = [FakeClient() for _ in range(clients)]

    async def ask(self, *numbers: int) -> None:
        """These clients ask, together."""
        plane = self.plane
        plane.delivered.clear()
        for number in numbers:
            plane.admission.admit(plane.request(client=self.clients[number]))
        await until(lambda: len(plane.delivered) == len(numbers))
        for exchange in plane.delivered:
            exchange.take_whole(answer_of(ok()), b"", 7)

    @property
    def syncs(self) -> int:
        """How many syncs have started."""
        return len(self.plane.backend.calls)

    @property
    def delays(self) -> int:
        """How many of them have waited."""
        return self.plane.counters.commit_delays

    def answers(self, number: int) -> int:
        """How many answers a client has got."""
        return self.clients[number].finishes

    def complete(self) -> None:
        """The sync that is under way ends."""
        self.plane.backend.complete()

    async def close(self) -> None:
        """End what is under way."""
        closing = asyncio.ensure_future(self.plane.journal.close())
        while not closing.done():
            if self.plane.backend.syncs_under_way:
                self.complete()
            await turn()
        await closing


MakeCrowd = Callable[[int, int], Crowd]


@pytest.fixture
def make_crowd(make_plane: MakePlane) -> MakeCrowd:
    """Make so many clients of a plane with this commit delay in microseconds."""
    return lambda clients, delay_us: Crowd(make_plane, clients, delay_us)


async def test_a_client_alone_never_waits(make_crowd: MakeCrowd) -> None:
    crowd = make_crowd(1, NEVER_US)
    for asked in range(1, 6):
        await crowd.ask(0)
        assert crowd.syncs == asked
        crowd.complete()
        assert crowd.answers(0) == asked
    assert crowd.delays == 0
    await crowd.close()


async def test_the_next_sync_waits_until_all_who_were_answered_have_asked_again(make_crowd: MakeCrowd) -> None:
    crowd = make_crowd(5, NEVER_US)
    await crowd.ask(0, 1, 2)
    await crowd.ask(3, 4)
    crowd.complete()
    assert [crowd.answers(number) for number in range(5)] == [1, 1, 1, 0, 0]
    assert crowd.syncs == 1
    await crowd.ask(0, 1)
    assert crowd.syncs == 1
    await crowd.ask(2)
    assert crowd.syncs == 2
    crowd.complete()
    assert [crowd.answers(number) for number in range(5)] == [2, 2, 2, 1, 1]
    assert crowd.delays == 1
    await crowd.close()


async def test_others_who_come_meanwhile_are_not_taken_for_those_who_were_answered(make_crowd: MakeCrowd) -> None:
    crowd = make_crowd(6, NEVER_US)
    await crowd.ask(0, 1)
    crowd.complete()
    await crowd.ask(2, 3, 4, 5)
    assert crowd.syncs == 1
    await crowd.ask(0, 1)
    assert crowd.syncs == 2
    await crowd.close()


async def test_a_client_that_asks_several_times_is_one_client(make_crowd: MakeCrowd) -> None:
    crowd = make_crowd(3, NEVER_US)
    await crowd.ask(0, 0, 0, 1)
    await crowd.ask(2)
    crowd.complete()
    await crowd.ask(0, 0)
    assert crowd.syncs == 1
    await crowd.ask(1)
    assert crowd.syncs == 2
    await crowd.close()


async def test_those_who_wait_are_not_kept_longer_than_the_delay(make_crowd: MakeCrowd) -> None:
    crowd = make_crowd(4, 1_000)
    await crowd.ask(0, 1, 2)
    await crowd.ask(3)
    crowd.complete()
    assert crowd.syncs == 1
    await until(lambda: crowd.syncs == 2)
    crowd.complete()
    assert crowd.answers(3) == 1
    await crowd.close()


async def test_after_the_delay_nobody_is_waited_for(make_crowd: MakeCrowd) -> None:
    crowd = make_crowd(4, AT_ONCE_US)
    await crowd.ask(0, 1, 2)
    crowd.complete()
    await asyncio.to_thread(lambda: None)
    await crowd.ask(3)
    assert crowd.syncs == 2
    assert crowd.delays == 0
    await crowd.close()


async def test_clients_that_do_not_come_back_are_waited_for_more_and_more_rarely(make_crowd: MakeCrowd) -> None:
    crowd = make_crowd(200, 100)
    syncs = 0
    for number in range(0, 200, 2):
        await crowd.ask(number)
        await crowd.ask(number + 1)
        for _ in range(2):
            syncs += 1
            await until(lambda syncs=syncs: crowd.syncs == syncs)  # type: ignore[misc]
            crowd.complete()
    # With pauses of 2, 4, 8 … 64 syncs in between.
    assert 1 <= crowd.delays <= 8
    await crowd.close()


async def test_who_asks_for_durability_does_not_wait_for_the_delay(make_crowd: MakeCrowd) -> None:
    crowd = make_crowd(4, NEVER_US)
    await crowd.ask(0, 1, 2)
    await crowd.ask(3)
    crowd.complete()
    durable = asyncio.ensure_future(crowd.plane.journal.make_durable())
    await turn()
    assert crowd.syncs == 2
    crowd.complete()
    await durable
    await crowd.close()


async def test_relaxed_durability_knows_no_commit_delay(make_plane: MakePlane) -> None:
    plane = make_plane(Durability.RELAXED, commit_delay_us=NEVER_US)
    assert plane.journal.group_commit._timer is None


async def test_where_there_is_no_timer_every_sync_starts_at_once(
    make_crowd: MakeCrowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> ShortTimer:
        raise OSError(1, "timerfd_create failed")

    monkeypatch.setattr("interceptor.group_commit.ShortTimer", refused)
    crowd = make_crowd(4, NEVER_US)
    await crowd.ask(0, 1, 2)
    await crowd.ask(3)
    crowd.complete()
    assert crowd.syncs == 2
    await crowd.close()


async def test_a_timer_is_due_once_for_each_start_unless_it_is_stopped() -> None:
    loop = asyncio.get_running_loop()
    due: list[float] = []
    timer = ShortTimer(loop, lambda: due.append(loop.time()))
    began_s = loop.time()
    timer.start(200)
    timer.start(200)
    await until(lambda: bool(due))
    assert due[0] - began_s >= 0.0002
    assert not timer.running
    timer.start(200)
    timer.stop()
    timer.start(200)
    await until(lambda: len(due) == 2)
    timer.close()
    timer.close()
