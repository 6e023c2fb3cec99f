"""The order that was asked for, live, after deaths at random points, and in each replay (rules 1 and 3)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from interceptor.order import Order
from interceptor.states import State
from storage_backends.records import Event
from tests.interceptor.fake_log import records_of
from tests.interceptor.fakes import FakeDetector, ok, turn, until
from tests.interceptor.recovering import Rig, recovering
from tests.interceptor.target import Connection

ORDERS = {"total": 1, "key:path:/{key}/*": 5, "arrival": 4}
# Answers a connection: one is a serial target, a few are a server's keep-alive budget.
BUDGETS = (1, 3, 1_000)


class ForgetfulTarget:
    """Takes a seeded number of turns of the loop for each request, and dies of some of them: then its memory is gone.

    `lives` is what each incarnation has applied, in order.  Each connection ends after `budget` answers.
    """

    def __init__(self, seed: int, deaths: set[int], budget: int) -> None:
        self._budget = budget
        self.detector = FakeDetector("life-1")
        self.lives: list[list[str]] = [[]]
        self._chance = random.Random(seed)
        self._deaths = deaths
        self._taken = 0
        self.restart: Callable[[], None]

    async def serve(self, connection: Connection) -> None:
        life = self.lives[-1]
        for left in reversed(range(self._budget)):
            (request,) = await connection.requests()
            self._taken += 1
            dies = self._taken in self._deaths
            await turn(self._chance.choice([0, 0, 1, 3, 20]))
            if life is not self.lives[-1]:
                return
            path = request.split(" ")[1]
            answer = ok(path.encode(), *["Connection: close"] * (left == 0))
            # What the target has applied when it dies may have been answered, or not, or in part.
            life.append(path)
            connection.write(answer[: self._chance.choice([0, 5, -2, len(answer)])] if dies else answer)
            if dies:
                self.die()
                return

    def die(self) -> None:
        self.lives.append([])
        self.detector.identity = f"life-{len(self.lives)}"
        self.restart()


async def send_in_bursts(rig: Rig, paths: list[str], chance: random.Random) -> list[tuple[int | None, str]]:
    """Return the status and the content of each answer, which has ended and was not cut."""
    clients = []
    while paths:
        burst = chance.randrange(1, 6)
        clients += rig.request(*paths[:burst])
        paths = paths[burst:]
        await turn(chance.randrange(8))
    await until(lambda: all(client.finishes == 1 for client in clients))
    return [(client.status, client.output.rpartition(b"\r\n\r\n")[2].decode()) for client in clients]


def key_of(path: str) -> str:
    return path.split("/")[1]


def check_order(order: str, applied: list[str], log: list[str], *, whole: bool) -> None:
    """An incarnation has applied a part of the log, each event once, in the order that was asked for."""
    assert len(applied) == len(set(applied)), "something was applied twice to one incarnation"
    keys = {""} if order == "total" else {key_of(path) for path in log} if order.startswith("key") else set()
    for key in keys:
        of_key = [path for path in applied if not key or key_of(path) == key]
        expected = [path for path in log if not key or key_of(path) == key]
        assert of_key == expected[: len(of_key)], f"the order of {key or 'all'} is not the log's"
    assert set(applied) <= set(log)
    assert not whole or len(applied) == len(log), "something is missing"


async def run(order: str, seed: int, deaths: set[int], keys: int, budget: int, whole_bytes_max: int) -> None:
    chance = random.Random(seed)
    target = ForgetfulTarget(seed, deaths, budget)
    paths = [f"/{chance.choice(['', 'k'])}{chance.randrange(keys)}/{number}" for number in range(40)]
    async with recovering(
        target.serve, detector=target.detector, order=Order.parse(order), lanes=ORDERS[order], quarantine_after=1_000,
        answer_whole_bytes_max=whole_bytes_max,
    ) as rig:  # fmt: skip
        target.restart = rig.target.restart
        await rig.active()
        assert await send_in_bursts(rig, paths, chance) == [(200, path) for path in paths]
        target.die()
        assert await send_in_bursts(rig, ["/last/1"], chance) == [(200, "/last/1")]
        log = [event.head.split(b" ")[1].decode() for event in records_of(rig.backend, Event)]
        # That request may have been answered on the way, or have been the last that an incarnation applied: then the
        # state is Active until the loss is noticed.
        await until(lambda: len(target.lives[-1]) >= len(log) and rig.machine.state is State.ACTIVE)
        assert sorted(log) == sorted([*paths, "/last/1"])
        for life in target.lives[:-1]:
            check_order(order, life, log, whole=False)
        check_order(order, target.lives[-1], log, whole=True)
        report = rig.recovery.standing.last_recovery
        assert report is not None
        assert report["divergences"] == 0
        assert rig.recovery.standing.uncertain is None
        assert rig.plane.sequencer.outstanding_events == 0


@settings(max_examples=40, deadline=None)
@given(
    order=st.sampled_from(list(ORDERS)),
    seed=st.integers(0, 2**32),
    deaths=st.sets(st.integers(1, 150), max_size=6),
    keys=st.integers(1, 9),
    budget=st.sampled_from(BUDGETS),
    # The least one lets every answer stream: then a part of it is with the client when the target dies.
    whole_bytes_max=st.sampled_from([1, 65_536]),
)
def test_each_incarnation_gets_the_events_in_the_order_that_was_asked_for(
    order: str, seed: int, deaths: set[int], keys: int, budget: int, whole_bytes_max: int
) -> None:
    asyncio.run(run(order, seed, deaths, keys, budget, whole_bytes_max))
