"""The clients: each adds to counters, reads back what it wrote, and notes everything that it sees.

Each client has a counter of its own, of which it knows the value at any moment, and adds to counters that all share.
"""

from __future__ import annotations

import asyncio
import json
import random
from array import array
from time import monotonic

from interceptor.demo.connection import Connection
from interceptor.demo.errors import RequestFailedError
from interceptor.demo.ledger import Operation

SHARED_NAMES = ("orders", "visits", "votes", "likes", "tickets", "stock", "score", "downloads")
# Of all requests: to the client's own counter, and how many only read.
OWN_SHARE = 0.65
READ_SHARE = 0.35
PAUSE_AFTER_ERROR_S = 0.1


class Tally:
    """What all clients saw together."""

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        self.latencies_s = array("d")
        self.answered = 0
        self.acknowledged = 0
        self.reads = 0
        self.errors: list[str] = []
        self.wrong_reads: list[str] = []
        self.slowest_s = 0.0
        self._slowest_since_s = 0.0

    def note_answer(self, latency_s: float) -> None:
        """Count a request that was answered as it should be."""
        self.answered += 1
        self.latencies_s.append(latency_s)
        self.slowest_s = max(self.slowest_s, latency_s)
        self._slowest_since_s = max(self._slowest_since_s, latency_s)

    def take_slowest_s(self) -> float:
        """Return the slowest answer since the last call."""
        slowest_s, self._slowest_since_s = self._slowest_since_s, 0.0
        return slowest_s


class Client:
    """Sends one request at a time."""

    def __init__(self, number: int, port: int, chance: random.Random, tally: Tally) -> None:
        self.answered = asyncio.Event()
        self.answered.set()
        self._number = number
        self._own = f"client-{number}"
        self._connection = Connection(port)
        self._random = chance
        self._tally = tally
        self._sent = 0
        # By counter, what its value must at least be: for the own one what was acknowledged, else what was seen last.
        self._at_least: dict[str, int] = {}
        self._unanswered = 0

    async def run(self, stop: asyncio.Event, interval_s: float) -> None:
        """Go on until `stop` is set; the request that is under way then is still finished."""
        try:
            while not stop.is_set():
                await asyncio.sleep(self._random.expovariate(1 / interval_s))
                try:
                    await self._step()
                except RequestFailedError as error:
                    self._tally.errors.append(str(error))
                    await asyncio.sleep(PAUSE_AFTER_ERROR_S)
                finally:
                    self.answered.set()
        finally:
            self._connection.close()

    async def _step(self) -> None:
        name = self._own if self._random.random() < OWN_SHARE else self._random.choice(SHARED_NAMES)
        if self._random.random() < READ_SHARE and name in self._at_least:
            self._check(name, await self._ask("GET", f"/counters/{name}"), 0)
            self._tally.reads += 1
        else:
            await self._add(name)

    async def _add(self, name: str) -> None:
        self._sent += 1
        identifier = f"{self._number}-{self._sent}"
        operation = self._tally.operations[identifier] = Operation(name, monotonic())
        try:
            value = await self._ask("POST", f"/counters/{name}?op={identifier}")
        except RequestFailedError:
            self._unanswered += name == self._own
            raise
        operation.answered_s = monotonic()
        self._tally.acknowledged += 1
        self._check(name, value, 1)

    async def _ask(self, method: str, target: str) -> int:
        self.answered.clear()
        began_s = monotonic()
        answer = await self._connection.request(method, target)
        latency_s = monotonic() - began_s
        if answer.status != 200:
            raise RequestFailedError(
                f"{method} {target}: {answer.status}: {answer.body[:200].decode(errors='replace')}"
            )
        try:
            value = int(json.loads(answer.body)["value"])
        except (ValueError, TypeError, KeyError) as error:
            raise RequestFailedError(
                f"{method} {target}: not the application's answer: {answer.body[:200]!r}"
            ) from error
        self._tally.note_answer(latency_s)
        return value

    def _check(self, name: str, value: int, added: int) -> None:
        low = self._at_least.get(name, 0) + added
        if value < low or (name == self._own and value > low + self._unanswered):
            self._tally.wrong_reads.append(f"{self._own} saw {name} = {value}, expected {low}")
        self._at_least[name] = low if name == self._own else max(low, value)


class Traffic:
    """All clients together."""

    def __init__(self, port: int, clients: int, rate: float, seed: int) -> None:
        """`rate`: requests a second of all clients, as far as they need not wait."""
        self.tally = Tally()
        self._clients = [
            Client(number, port, random.Random(f"{seed}/{number}"), self.tally) for number in range(1, clients + 1)
        ]
        self._interval_s = clients / rate
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let the clients begin."""
        self._tasks = [asyncio.create_task(client.run(self._stop, self._interval_s)) for client in self._clients]

    @property
    def waiting(self) -> int:
        """How many clients wait for an answer now."""
        return sum(not client.answered.is_set() for client in self._clients)

    async def wait_until_answered(self) -> None:
        """Return once every request that is under way now has its answer."""
        await asyncio.gather(*(client.answered.wait() for client in self._clients))

    async def finish(self) -> None:
        """Send no more, wait for all answers."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        """End at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
