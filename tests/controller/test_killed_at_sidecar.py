"""The controller killed with each request that changes a sidecar, or that writes of it: the same end state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from controller.admin import Admin
from tests.controller.cluster import Cluster, controlling, until
from tests.controller.conftest import Clusters
from tests.controller.test_killed import Killer
from tests.controller.test_pods import create_pod, dead, serving, token_of
from tests.interceptor.running import Running as Sidecar
from tests.interceptor.running import running

Condition = Callable[[], Awaitable[bool]]


async def die_at(cluster: Cluster, sidecar: Sidecar, at_write: int, condition: Condition) -> bool:
    """Let a controller work until `condition` holds; return whether it was killed before, with its n-th change."""
    ask = Admin._ask
    async with controlling(cluster, admin_url=lambda pod: url_of(sidecar)) as controller:
        killer = Killer(controller, at_write)

        async def asked(admin: Admin, method: str, *rest: Any, **query: str) -> Any:
            return await killer.pass_on(partial(ask, admin, method, *rest, **query), writes=method != "GET")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Admin, "_ask", asked)
            await killer.until_dead_or(condition)
            return killer.dead.is_set()


def url_of(sidecar: Sidecar) -> str:
    return f"http://{sidecar.admin.address}"


def catalogue_of(sidecar: Sidecar) -> list[str]:
    return [each.id for each in sidecar.ambassador.checkpoints.catalogue.entries]


def tells_last(cluster: Cluster, sidecar: Sidecar, kept: int) -> Condition:
    """So many checkpoints are kept, and the resource's status tells the last of them."""

    async def told() -> bool:
        status = ((await cluster.get("Checkpoint", "shop")) or {}).get("status") or {}
        ids = catalogue_of(sidecar)
        return len(ids) == kept and (status.get("lastCheckpoint") or {}).get("id") == ids[-1]

    return told


@pytest.mark.parametrize(("there_already", "retention"), [(0, 1), (3, 1)], ids=["taking", "forgetting"])
async def test_at_each_step_of_a_checkpoint(clusters: Clusters, there_already: int, retention: int) -> None:
    """One that was taken and whose answer was lost is in the sidecar's catalogue: it is not taken again."""
    for at_write in range(1, 6):
        async with clusters() as cluster, running(admin_token=token_of(cluster)) as sidecar:
            await sidecar.send("/a", "/b")
            for _ in range(there_already):
                await sidecar.ambassador.checkpoints.take()
            before = catalogue_of(sidecar)
            await create_pod(cluster, serving())
            spec = {"target": {"kind": "Deployment", "name": "shop"}, "interval": "1h", "retention": retention}
            await cluster.create("Checkpoint", "shop", {"spec": spec})
            done = tells_last(cluster, sidecar, retention)
            was_killed = await die_at(cluster, sidecar, at_write, done)
            async with controlling(cluster, admin_url=lambda pod, sidecar=sidecar: url_of(sidecar)):
                await until(done)
            assert catalogue_of(sidecar) == (before[-retention:] or ["mark-1"])
            if not was_killed:
                assert at_write > there_already
                return
    raise AssertionError("it never came to the end")


async def test_at_each_step_of_a_recovery(clusters: Clusters) -> None:
    """Rule 3: the log is projected once into each incarnation, and nobody's hold is left behind."""
    for at_write in range(1, 6):
        async with clusters() as cluster, running(admin_token=token_of(cluster)) as sidecar:
            await sidecar.send("/a", "/b")
            await create_pod(cluster, dead())

            async def held(sidecar: Sidecar = sidecar) -> bool:
                return sidecar.ambassador.hold.causes == {"controller"}

            async def passes(sidecar: Sidecar = sidecar) -> bool:
                return sidecar.ambassador.hold.causes == set()

            was_killed = await die_at(cluster, sidecar, at_write, held)
            if not was_killed:
                sidecar.target.restart()
                await cluster.set_status("Pod", "shop-1", serving())
                was_killed = await die_at(cluster, sidecar, at_write - 1, passes)
            else:
                sidecar.target.restart()
                await cluster.set_status("Pod", "shop-1", serving())
            async with controlling(cluster, admin_url=lambda pod, sidecar=sidecar: url_of(sidecar)) as controller:
                await controller.looked_at("Pod", "shop-1")
                await until(passes)
            await sidecar.active()
            assert sidecar.target.asked == [["GET /a", "GET /b"], ["GET /a", "GET /b"]]
            if not was_killed:
                assert at_write > 3
                return
    raise AssertionError("it never came to the end")
