"""Many workloads in one namespace: each is looked at a few times, not as often as there are others."""

from __future__ import annotations

import asyncio

import pytest

from tests.controller.cluster import ON, Cluster, controlling, service, template, until

CROWD = 100
# Its own change, the Service's, the patch and its answer, and what is looked at twice because it is worked on.
LOOKS_EACH_MAX = 10


@pytest.mark.timeout(600)
async def test_a_crowd(real_cluster: Cluster) -> None:
    cluster = real_cluster
    slots = asyncio.Semaphore(16)

    async def make(number: int) -> None:
        name = f"shop-{number}"
        labels = {"app": name}
        content = template()
        content["metadata"]["labels"] = labels
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": content}
        async with slots:
            await cluster.create("Deployment", name, {"spec": spec}, {"annotations": ON})
            await cluster.create("Service", name, service(selector=labels))

    await asyncio.gather(*(make(number) for number in range(CROWD)))
    async with controlling(cluster) as running:

        async def all_pointed() -> bool:
            found = await cluster.list("Service")
            return all(each["spec"]["ports"][0]["targetPort"] == 8001 for each in found)

        await until(all_pointed, 500)
        for kind in ("Deployment", "Service"):
            looks = sum(running.sample("reconciles_total", kind=kind, result=each) for each in ("ok", "error"))
            assert looks <= LOOKS_EACH_MAX * CROWD
    patches = [each.resource for each in cluster.asked() if each.verb == "patch"]
    assert (patches.count("deployments"), patches.count("services")) == (CROWD, CROWD)
