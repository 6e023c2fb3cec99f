"""One client: it sends, remembers what it was told, and now and then goes away when nobody expects it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.chaos.history import Ending, Kind, Operation
from bench.chaos.workload import Request, Workload

ANSWER_TIMEOUT_S = 60.0
RECONNECT_S = 0.05
PIPELINED_MAX = 6
PROBLEM = "application/problem+json"


@dataclass
class Answer:
    """One final answer."""

    status: int
    fields: dict[str, str]
    content: bytes


class Client:
    """Keep-alive, mostly; one request at a time, or several in one write; some connections end early, at each stage."""

    def __init__(
        self, number: int, port: int, seed: str, epoch: Callable[[], int], pause_s: float, read_mark: str = ""
    ) -> None:
        self._chance = random.Random(seed)
        self._workload = Workload(number, self._chance, read_mark)
        self._port = port
        self._epoch = epoch
        self._pause_s = pause_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.stopping = False
        self.operations: list[Operation] = []
        self.acknowledged = 0

    async def run(self) -> None:
        """Work until `stopping` is set, then wait for the last answers."""
        while not self.stopping:
            count = self._chance.randint(2, PIPELINED_MAX) if self._chance.random() < 0.2 else 1
            await self._exchange([self._workload.next(self._epoch(), time.monotonic_ns()) for _ in range(count)])
            await asyncio.sleep(self._chance.random() * 2 * self._pause_s)
        self._drop()

    async def send_poison(self) -> Operation:
        """Send one request that kills every incarnation; returns what became of it."""
        # The last connection may have been cut long ago, by a fault that has nothing to do with this request.
        self._drop()
        request = self._workload.poison(time.monotonic_ns())
        await self._exchange([request])
        return request.operation

    async def _exchange(self, requests: list[Request]) -> None:
        self.operations += [request.operation for request in requests]
        leaves = self._chance.random() < 0.04 and requests[0].operation.kind is not Kind.POISON
        stage = self._chance.choice(("connect", "head", "body", "sent", "answer")) if leaves else None
        try:
            reader, writer = await self._connected()
        except OSError as error:
            for request in requests:
                self._end(request.operation, Ending.UNSENT, str(error))
            await asyncio.sleep(RECONNECT_S)
            return
        if stage is not None:
            await self._leave_at(stage, requests, reader, writer)
            return
        waiting = [request.operation for request in requests]
        try:
            writer.write(b"".join(request.data for request in requests))
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while waiting:
                    answer = await read_answer(reader)
                    self._judge(waiting.pop(0), answer)
                    if answer.fields.get("connection", "").lower() == "close":
                        self._drop()
                        break
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self._drop()
            for operation in waiting:
                operation.behind = waiting[0].id if operation is not waiting[0] else None
                self._end(operation, Ending.UNKNOWN, repr(error))
            await asyncio.sleep(RECONNECT_S)
            return
        for operation in waiting:
            # Behind `Connection: close` nothing was processed (RFC 9112 §9.6).
            self._end(operation, Ending.UNSENT, "the server closed the connection before it")

    async def _leave_at(
        self, stage: str, requests: list[Request], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request = requests[0]
        for each in requests:
            each.operation.left = True
        whole = stage in ("sent", "answer")
        sent = len(request.data) if whole else {"connect": 0, "head": request.head_bytes // 2}.get(stage, -1)
        if sent < 0:
            sent = (request.head_bytes + len(request.data)) // 2
            whole = sent == len(request.data)
        try:
            writer.write(request.data[:sent])
            await writer.drain()
            if stage == "answer":
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await reader.readexactly(15)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        self._drop()
        for each in requests:
            ending = Ending.UNKNOWN if each is request and whole else Ending.UNSENT
            self._end(each.operation, ending, f"left at stage {stage}")

    def _judge(self, operation: Operation, answer: Answer) -> None:
        operation.status = answer.status
        if answer.status == 200:
            content = json.loads(answer.content)
            if content["op"] != operation.id:
                raise ValueError(f"the answer to {operation.id} is for {content['op']}")
            operation.result = content["value"]
            self._end(operation, Ending.ACKNOWLEDGED, None)
            self.acknowledged += 1
            return
        text = answer.content[:300].decode(errors="replace")
        refused = answer.status == 503 and answer.fields.get("content-type", "").startswith(PROBLEM)
        if refused and "retry-after" not in answer.fields:
            text = f"503 without Retry-After: {text}"
            operation.status = 599
        self._end(operation, Ending.REFUSED if refused else Ending.UNKNOWN, text)

    @staticmethod
    def _end(operation: Operation, ending: Ending, error: str | None) -> None:
        operation.ended_ns = time.monotonic_ns()
        operation.ending = ending
        operation.error = error

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._chance.random() < 0.03:
            self._drop()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer, interim ones passed over.  Raises IncompleteReadError, ValueError, OSError."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        if status >= 200:
            break
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
    if fields.get("transfer-encoding", "").lower() != "chunked":
        return Answer(status, fields, await reader.readexactly(int(fields["content-length"])))
    content = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        content += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return Answer(status, fields, content)
