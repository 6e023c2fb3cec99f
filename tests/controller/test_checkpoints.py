"""Checkpoint resources: due by the sidecar's own catalogue, told by conditions."""

from __future__ import annotations

from typing import Any

from tests.controller.cluster import Cluster, controlling, until
from tests.controller.test_pods import create_pod, serving, token_of
from tests.interceptor.running import running

TARGET = {"target": {"kind": "Deployment", "name": "shop"}}


async def last_checkpoint(cluster: Cluster) -> dict[str, Any]:
    async def there() -> bool:
        found = await cluster.get("Checkpoint", "shop")
        return "lastCheckpoint" in ((found or {}).get("status") or {})

    await until(there)
    found = await cluster.get("Checkpoint", "shop")
    assert found is not None
    return dict(found["status"])


async def test_one_is_taken_and_not_again_by_the_next_controller(cluster: Cluster) -> None:
    async with running(admin_token=token_of(cluster)) as sidecar:
        await sidecar.send("/a", "/b")
        await create_pod(cluster, serving())
        await cluster.create("Checkpoint", "shop", {"spec": {**TARGET, "interval": "1h", "image": {"repository": "x"}}})
        url = f"http://{sidecar.admin.address}"
        async with controlling(cluster, admin_url=lambda pod: url):
            status = await last_checkpoint(cluster)
        await cluster.set_status("Checkpoint", "shop", {"lastCheckpoint": None})
        async with controlling(cluster, admin_url=lambda pod: url):
            again = await last_checkpoint(cluster)
        assert len(sidecar.ambassador.checkpoints.catalogue.entries) == 1
        assert status["lastCheckpoint"] == again["lastCheckpoint"]
        assert (status["lastCheckpoint"]["version"], status["lastCheckpoint"]["pod"]) == (2, "shop-1")
        conditions = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
        assert conditions == {
            "Ready": ("True", "Reachable"),
            "HoldsState": ("False", "Mark"),
            "ImageBuilt": ("False", "NotBuilt"),
        }


async def test_an_interval_goes_on_and_retention_forgets(cluster: Cluster) -> None:
    async with running(admin_token=token_of(cluster)) as sidecar:
        await create_pod(cluster, serving())
        await cluster.create("Checkpoint", "shop", {"spec": {**TARGET, "interval": "20ms", "retention": 2}})
        url = f"http://{sidecar.admin.address}"
        async with controlling(cluster, admin_url=lambda pod: url) as controller:

            async def several() -> bool:
                return controller.sample("checkpoints_total", result="taken") >= 4

            await until(several)
        assert len(sidecar.ambassador.checkpoints.catalogue.entries) <= 3


async def test_what_cannot_be_done_is_a_condition(cluster: Cluster) -> None:
    async with running(admin_token=token_of(cluster)) as sidecar:
        await create_pod(cluster, serving())
        await cluster.create("Checkpoint", "engine", {"spec": {**TARGET, "engine": "criu"}})
        await cluster.create("Checkpoint", "duration", {"spec": {**TARGET, "interval": "often"}})
        await cluster.create("Checkpoint", "nobody", {"spec": {"target": {"name": "other"}, "interval": "1s"}})
        url = f"http://{sidecar.admin.address}"
        async with controlling(cluster, admin_url=lambda pod: url):
            for name, reason in (
                ("engine", "EngineDiffers"),
                ("duration", "InvalidSpec"),
                ("nobody", "TargetNotReady"),
            ):

                async def told(name: str = name, reason: str = reason) -> bool:
                    found = await cluster.get("Checkpoint", name)
                    conditions = ((found or {}).get("status") or {}).get("conditions") or []
                    return [(each["status"], each["reason"]) for each in conditions] == [("False", reason)]

                await until(told)
        assert sidecar.ambassador.checkpoints.catalogue.entries == []
