"""A real API server killed and started again while the controller works: what a double can't show."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.controller.cluster import Cluster, controlling, deployment, service, until
from tests.controller.clusters import RealClusters
from tests.controller.test_killed import (
    INTERVAL,
    WRITES_MAX,
    Forwarder,
    Killer,
    end_states,
    objects,
    prepare,
    prepare_for_removal,
    reaches,
)
from tests.controller.test_workloads import target_port

pytestmark = pytest.mark.timeout(900)


async def restart(cluster: Cluster) -> None:
    """SIGKILL, and again on the same etcd: all watches end, and its cache of changes is empty."""
    await asyncio.to_thread(cluster.server.restart)


@pytest.mark.parametrize("removing", [False, True], ids=["adding", "removing"])
async def test_the_api_server_is_killed_after_two_writes_each_and_so_is_the_controller(
    real_cluster: Cluster, real_clusters: RealClusters, removing: bool
) -> None:
    with_sidecar, without = await end_states(real_clusters.cluster)
    wanted = without if removing else with_sidecar
    await prepare(real_cluster, INTERVAL)
    if removing:
        await prepare_for_removal(real_cluster, with_sidecar)
    for _life in range(2 * WRITES_MAX):
        async with controlling(real_cluster) as running:
            # One is not enough: a Secret of which is doubtful whose it is gets made anew each time.
            killer = Killer(running, 2)
            await killer.until_dead_or(reaches(real_cluster, wanted))
        if await objects(real_cluster) == wanted:
            return
        await restart(real_cluster)
    raise AssertionError(await objects(real_cluster))


async def test_it_goes_on_when_the_api_server_is_back(real_cluster: Cluster) -> None:
    await prepare(real_cluster, {})
    async with controlling(real_cluster) as running:
        await running.looked_at("Deployment", "shop")
        await restart(real_cluster)
        await real_cluster.patch("Deployment", "shop", {"metadata": {"annotations": INTERVAL}})
        await real_cluster.said("ServicePointed", timeout_s=90)


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made again"])
async def test_what_vanishes_while_the_api_server_is_out_of_reach_is_forgotten(
    real_cluster: Cluster, again: bool
) -> None:
    """The watch has expired (410 Gone); what is on the new list is told, what is not is not."""
    scheme, host, port = real_cluster.info.server.replace("//", "").split(":")
    way = Forwarder(host, int(port))
    await way.open()
    server = f"{scheme}://127.0.0.1:{way.port}"
    through = replace(real_cluster, controller_info=replace(real_cluster.controller_info, server=server))
    await prepare(real_cluster, INTERVAL)
    async with controlling(through) as running:
        await real_cluster.said("ServicePointed")
        await running.looked_at("Deployment", "shop")
        await way.close()
        await real_cluster.delete("Deployment", "shop")
        if again:
            # Without the annotation; of the same name.
            await real_cluster.create("Deployment", "shop", *deployment({}))
        await real_cluster.create("Service", "other", service(selector={"app": "other"}))
        await restart(real_cluster)
        await way.open()

        async def restored() -> bool:
            return await target_port(real_cluster) == "web"

        await until(restored, 60)
        found = running.controller.view.get("Deployment", real_cluster.namespace, "shop")
        assert (found is not None) == again
    await way.close()
