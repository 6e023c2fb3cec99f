"""A whole ambassador with its admin in this process, before a scripted target."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from interceptor.address import Address, TargetAddress, UnixAddress
from interceptor.admin.server import AdminServer
from interceptor.ambassador import Ambassador
from interceptor.limits import Limits
from interceptor.settings import Settings
from interceptor.states import State
from tests.interceptor.fakes import get
from tests.interceptor.target import Script, ScriptedTarget, echo


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Running:
    """What a test talks to."""

    ambassador: Ambassador
    admin: AdminServer
    target: ScriptedTarget
    session: aiohttp.ClientSession

    async def control(self, method: str, path: str, **headers: str) -> Answer:
        """Ask the admin."""
        async with self.session.request(method, f"http://{self.admin.address}{path}", headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def send(self, *paths: str, method: str = "GET", fields: tuple[str, ...] = ()) -> bytes:
        """Ask the application, pipelined, on a connection that ends with the last answer."""
        assert isinstance(self.ambassador.listen_address, Address)
        port = self.ambassador.listen_address.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for path in paths[:-1]:
                writer.write(get(path, *fields, method=method))
            writer.write(get(paths[-1], "Connection: close", *fields, method=method))
            return await reader.read()
        finally:
            writer.close()

    async def metrics(self) -> dict[str, float]:
        """Return the samples, by name and labels as the exposition shows them."""
        text = (await self.control("GET", "/metrics")).text
        return {
            sample.name + "".join(f"|{value}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def active(self) -> None:
        await self.ambassador.machine.wait_for(lambda state: state is State.ACTIVE, 5.0)


@asynccontextmanager
async def running(
    script: Script = echo, *, log_url: str = "memory:", limits: Limits | None = None, wait: bool = True,
    admin_same: bool = False, listen: Address | UnixAddress | None = None, at: TargetAddress | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:  # fmt: skip
    async with ScriptedTarget(script) as target:
        anywhere = Address("127.0.0.1", 0)
        # What start() does to the collector is for a process of its own.
        with mock.patch("interceptor.ambassador.gc"):
            ambassador = await Ambassador.open(
                Settings(
                    at or target.address, listen or anywhere, None if admin_same else anywhere, log_url,
                    limits=limits or Limits(),
                    **settings,
                )
            )  # fmt: skip
            admin = AdminServer(ambassador)
            async with aiohttp.ClientSession() as session:
                try:
                    await admin.start()
                    await ambassador.start()
                    made = Running(ambassador, admin, target, session)
                    if wait:
                        await made.active()
                    yield made
                finally:
                    await ambassador.stop()
                    await admin.stop()
