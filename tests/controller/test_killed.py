"""The controller killed at every step and started again, and the API server away in between: the same end state."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from controller.api import Api
from controller.errors import ApiError
from controller.lease import Lease, LeaseLostError
from controller.metrics import Metrics
from controller.workload import admin_token, token_digest
from tests.controller.cluster import (
    KEY,
    LEASE,
    ON,
    Cluster,
    Running,
    controlling,
    deployment,
    service,
    until,
)
from tests.controller.conftest import Clusters

INTERVAL = {**ON, "crsc.io/checkpoint-interval": "1h"}
# The template, the Service, the Secret, the Checkpoint and its status.
WRITES_MAX = 6


class Killer:
    """Kills a controller with its n-th write: it was sent, and the answer is lost."""

    def __init__(self, running: Running, at_write: int) -> None:
        self.dead = asyncio.Event()
        self.writes = 0
        self._at_write = at_write
        self._request = running.controller.api._request
        running.controller.api._request = self._asked  # type: ignore[method-assign]

    async def _asked(self, verb: str, group: str, resource: str, *rest: Any) -> Any:
        # An Event changes nothing: killed with it is killed after the write before.
        return await self.pass_on(partial(self._request, verb, group, resource, *rest), writes=resource != "events")

    async def pass_on(self, request: Callable[[], Awaitable[Any]], *, writes: bool) -> Any:
        """Make a request, or die with it."""
        self.writes += writes
        if self.writes < self._at_write:
            return await request()
        if self.writes == self._at_write and writes:
            with contextlib.suppress(ApiError):
                await request()
        self.dead.set()
        await asyncio.Future[None]()
        raise AssertionError("it is dead")

    async def until_dead_or(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Return when it is dead, or has nothing left to do."""
        tasks = [asyncio.create_task(until(condition)), asyncio.create_task(self._died())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _died(self) -> None:
        await self.dead.wait()


class Forwarder:
    """The way to an API server, which can go away and come back on the same port."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(self._carry(reader, writer)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, back))
                group.create_task(_copy(there, writer))
        finally:
            writer.transport.abort()
            back.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def objects(cluster: Cluster) -> dict[str, Any]:
    """Return what counts of the cluster; tokens, which differ from one namespace to the next, under one name."""
    workload, front = await cluster.get("Deployment", "shop"), await cluster.get("Service", "shop")
    assert workload is not None
    assert front is not None
    found = {
        "template": workload["spec"]["template"],
        # But for the addresses, which the API server has chosen.
        "service": (
            {name: front["spec"][name] for name in ("selector", "ports")},
            front["metadata"].get("annotations") or {},
        ),
        "secrets": [each["data"] for each in await cluster.list("Secret")],
        "checkpoints": [each["spec"] for each in await cluster.list("Checkpoint")],
    }
    token = admin_token(KEY, cluster.namespace, "Deployment/shop")
    text = json.dumps(found).replace(base64.b64encode(token.encode()).decode(), "TOKEN")
    text = re.sub(r'digest\\": \\"[0-9a-f]{16}', "digest", text.replace(token_digest(token), "DIGEST"))
    return dict(json.loads(text))


async def prepare(cluster: Cluster, annotations: dict[str, str]) -> None:
    await cluster.create("Deployment", "shop", *deployment(annotations))
    await cluster.create("Service", "shop", service())


def reaches(cluster: Cluster, wanted: dict[str, Any]) -> Callable[[], Awaitable[bool]]:
    async def there() -> bool:
        return await objects(cluster) == wanted

    return there


async def prepare_for_removal(cluster: Cluster, wanted: dict[str, Any]) -> None:
    async with controlling(cluster):
        await until(reaches(cluster, wanted))
    await cluster.patch("Deployment", "shop", {"metadata": {"annotations": dict.fromkeys(INTERVAL)}})


async def end_states(clusters: Clusters) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an undisturbed controller makes of it: with the annotation, and without it again."""
    async with clusters() as cluster:
        await prepare(cluster, INTERVAL)
        before = await objects(cluster)
        async with controlling(cluster) as running:
            await cluster.said("ServicePointed")
            await running.looked_at("Deployment", "shop")
            return await objects(cluster), before


@pytest.mark.parametrize("removing", [False, True], ids=["adding", "removing"])
async def test_killed_at_each_write(clusters: Clusters, removing: bool) -> None:
    """Killed before write n+1 and after write n are the same to the cluster."""
    with_sidecar, without = await end_states(clusters)
    assert with_sidecar != without
    wanted = without if removing else with_sidecar
    for at_write in range(1, WRITES_MAX):
        async with clusters() as cluster:
            await prepare(cluster, INTERVAL)
            if removing:
                await prepare_for_removal(cluster, with_sidecar)
            async with controlling(cluster) as running:
                killer = Killer(running, at_write)
                await killer.until_dead_or(reaches(cluster, wanted))
            async with controlling(cluster):
                await until(reaches(cluster, wanted))
            if not killer.dead.is_set():
                assert at_write > 3
                return


async def test_lives_of_two_writes_each(clusters: Clusters) -> None:
    """Killed again and again, it still comes to the end."""
    wanted, _ = await end_states(clusters)
    async with clusters() as cluster:
        await prepare(cluster, INTERVAL)
        there = reaches(cluster, wanted)
        for _life in range(3 * WRITES_MAX):
            async with controlling(cluster) as running:
                await Killer(running, 2).until_dead_or(there)
            if await there():
                return
        raise AssertionError(await objects(cluster))


async def test_the_api_server_goes_away_and_comes_back(cluster: Cluster) -> None:
    """No crash, and what has changed meanwhile is found."""
    scheme, host, port = cluster.info.server.replace("//", "").split(":")
    way = Forwarder(host, int(port))
    await way.open()
    server = f"{scheme}://127.0.0.1:{way.port}"
    through = replace(cluster, controller_info=replace(cluster.controller_info, server=server))
    await prepare(cluster, {})
    async with controlling(through) as running:
        await running.looked_at("Deployment", "shop")
        await way.close()
        with pytest.raises(ApiError, match="the API server"):
            await running.controller.api.create("", "events", cluster.namespace, {})
        assert running.sample("api_requests_total", verb="create", resource="events", status="0") == 1
        await cluster.patch("Deployment", "shop", {"metadata": {"annotations": ON}})
        await way.open()
        await cluster.said("ServicePointed")
    await way.close()


async def test_one_controller_at_a_time(cluster: Cluster) -> None:
    now_s = [0.0]
    api = Api(lambda: cluster.controller_info, Metrics())
    try:
        first, second = (
            Lease(api, cluster.namespace, LEASE, name, clock=lambda: now_s[0]) for name in ("first", "second")
        )
        assert await first._try()
        assert not await second._try()
        now_s[0] += 10
        assert await first._try()
        now_s[0] += 10
        assert not await second._try()
        now_s[0] += 16
        assert await second._try()
        assert not await first._try()
        lease = await cluster.get("Lease", LEASE)
        assert lease is not None
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("second", 2)
    finally:
        await api.close()


async def test_who_loses_the_lease_ends(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.lease.RENEW_S", 0.01)
    api = Api(lambda: cluster.controller_info, Metrics())
    try:
        lease = Lease(api, cluster.namespace, LEASE, "first")
        await lease.acquire()
        await cluster.patch(
            "Lease",
            LEASE,
            {"spec": {"holderIdentity": "second", "renewTime": "2000-01-01T00:00:00.000000Z"}},
        )
        with pytest.raises(LeaseLostError, match="another controller"):
            await lease.renew()
    finally:
        await api.close()
