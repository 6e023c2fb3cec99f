"""Recoveries driven from Kubernetes: a real ambassador with its admin, before a target whose Pod the tests describe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controller.workload import admin_token
from interceptor.control import Control
from tests.controller.cluster import KEY, Cluster, Running, controlling, until
from tests.interceptor.running import Running as Ambassador
from tests.interceptor.running import running

OWNER = "Deployment/shop"
FACTS = '{"container": "shop", "digest": "0", "port": 8000, "token": "0", "workload": "Deployment/shop"}'


def token_of(cluster: Cluster) -> str:
    return admin_token(KEY, cluster.namespace, OWNER)


def at(seconds: float = 0.0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(state: dict[str, Any], *, ready: bool = False, **more: Any) -> dict[str, Any]:
    container = {
        "name": "shop",
        "ready": ready,
        "restartCount": 0,
        "image": "shop:1",
        "imageID": "",
        "state": state,
        **more,
    }
    return {"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": [container]}


def serving() -> dict[str, Any]:
    return status({"running": {"startedAt": at()}}, ready=True)


def dead(reason: str = "Error") -> dict[str, Any]:
    return status({"terminated": {"exitCode": 137, "reason": reason, "finishedAt": at(10)}})


async def create_pod(cluster: Cluster, now: dict[str, Any]) -> None:
    content = {"spec": {"containers": [{"name": "shop", "image": "shop:1"}]}, "status": now}
    await cluster.create("Pod", "shop-1", content, {"annotations": {"crsc.io/injected": FACTS}})


@asynccontextmanager
async def recovering(
    cluster: Cluster, now: dict[str, Any], token: str = "", **config: Any
) -> AsyncIterator[tuple[Ambassador, Running]]:
    """A Pod, its sidecar with two recorded requests, and a controller."""
    async with running(admin_token=token or token_of(cluster)) as sidecar:
        await sidecar.send("/a", "/b")
        await create_pod(cluster, now)
        url = f"http://{sidecar.admin.address}"
        async with controlling(cluster, admin_url=lambda pod: url, **config) as controller:
            yield sidecar, controller


async def test_a_container_that_kubernetes_calls_dead_is_held_and_brought_into_step(cluster: Cluster) -> None:
    """What the sidecar has not seen itself: Waiting, then projected, then Active.  Rule 3: once to each incarnation."""
    async with recovering(cluster, dead("OOMKilled")) as (sidecar, controller):
        await cluster.said("Held", "shop-1")
        assert "OOMKilled" in await cluster.message("TargetFailed")
        assert sidecar.ambassador.hold.causes == {"controller"}
        sidecar.target.restart()
        await cluster.set_status("Pod", "shop-1", serving())
        await cluster.said("Reprojected", "shop-1")
        await sidecar.active()
        assert sidecar.target.asked[-1] == ["GET /a", "GET /b"]
        assert sidecar.ambassador.hold.causes == set()
        assert controller.sample("target_failures_total", reason="OOMKilled") == 1


async def test_a_hang_is_seen_by_the_kubelets_probe(cluster: Cluster) -> None:
    """A failed readiness beyond the threshold; the incarnation is the same, so nothing is delivered twice (rule 3)."""
    hanging = status({"running": {"startedAt": at(-60)}})
    hanging["conditions"] = [{"type": "ContainersReady", "status": "False", "lastTransitionTime": at(10)}]
    later = datetime.now(UTC).timestamp() + 60
    async with recovering(cluster, hanging, clock=lambda: later) as (sidecar, _):
        await cluster.said("Held", "shop-1")
        assert "Unready" in await cluster.message("TargetFailed")
        await cluster.set_status("Pod", "shop-1", {**serving(), "conditions": []})
        await cluster.said("Reprojected", "shop-1")
        await sidecar.active()
        assert sidecar.target.asked == [["GET /a", "GET /b"]]


async def test_what_the_sidecar_has_done_by_itself_is_only_recorded(cluster: Cluster) -> None:
    async with recovering(cluster, serving()) as (sidecar, controller):
        sidecar.target.restart()
        await sidecar.ambassador.machine.wait_for(lambda state: state.value != "active", 5.0)
        await sidecar.active()
        await cluster.set_status("Pod", "shop-1", status({"running": {"startedAt": at(1)}}, ready=True, restartCount=1))
        await cluster.said("Recovered", "shop-1")
        assert "2 requests were delivered again" in await cluster.message("Recovered")
        assert {"Held", "Reprojected"}.isdisjoint(await cluster.reasons())
        assert controller.sample("admin_requests_total", endpoint="/reproject", status="200") == 0


async def test_an_operators_hold_is_the_operators(cluster: Cluster) -> None:
    async with recovering(cluster, dead()) as (sidecar, controller):
        await cluster.said("Held", "shop-1")
        await Control(sidecar.ambassador).set_waiting()
        sidecar.target.restart()
        await cluster.set_status("Pod", "shop-1", serving())
        await cluster.said("Reprojected", "shop-1")
        await controller.looked_at("Pod", "shop-1")
        assert sidecar.ambassador.hold.causes == {"operator"}


async def test_a_controller_that_dies_while_it_holds_is_followed_by_one_that_lets_go(cluster: Cluster) -> None:
    """The sidecar remembers who holds, so a new controller knows what the old one had begun."""
    async with running(admin_token=token_of(cluster)) as sidecar:
        await sidecar.send("/a")
        await create_pod(cluster, dead())
        url = f"http://{sidecar.admin.address}"
        async with controlling(cluster, admin_url=lambda pod: url):
            await cluster.said("Held", "shop-1")
        sidecar.target.restart()
        await cluster.set_status("Pod", "shop-1", serving())
        async with controlling(cluster, admin_url=lambda pod: url):
            await cluster.said("Reprojected", "shop-1")
        await sidecar.active()
        assert sidecar.target.asked[-1] == ["GET /a"]


async def test_a_token_that_is_refused_is_said(cluster: Cluster) -> None:
    async with recovering(cluster, dead(), token="another") as (sidecar, controller):
        await cluster.said("AdminRefusedToken", "shop-1")
        assert "delete the Pod" in await cluster.message("AdminRefusedToken")
        assert controller.sample("admin_requests_total", endpoint="/state", status="401") >= 1
        assert sidecar.ambassador.hold.causes == set()


@pytest.mark.parametrize("said", ["{}", "[]", '{"state": "Active"}', "null"])
async def test_what_is_no_state_is_said_and_no_error_of_ours(
    cluster: Cluster, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Rule 8: something else listens there, or a sidecar of another version."""
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=said, content_type="application/json")

    app.router.add_get("/state", answer)
    async with TestServer(app) as server:
        await create_pod(cluster, serving())
        async with controlling(cluster, admin_url=lambda pod: str(server.make_url("")).rstrip("/")):
            await cluster.said("AdminRefused", "shop-1")
    assert "Traceback" not in caplog.text


async def test_a_sidecar_out_of_reach_is_tried_again_until_its_pod_is_gone(cluster: Cluster) -> None:
    await create_pod(cluster, serving())
    async with controlling(cluster, admin_url=lambda pod: "http://127.0.0.1:9") as controller:
        await cluster.said("AdminUnreachable", "shop-1")
        before = controller.sample("reconciles_total", kind="Pod", result="ok")
        await cluster.delete("Pod", "shop-1")

        async def forgotten() -> bool:
            return controller.sample("reconciles_total", kind="Pod", result="ok") > before

        await until(forgotten)
        assert not controller.controller.queue._failures


@pytest.mark.parametrize("place", ["containerStatuses", "initContainerStatuses"])
async def test_a_sidecar_that_is_not_ready_yet_is_no_alarm(cluster: Cluster, place: str) -> None:
    """An application without a readiness probe counts as ready at once, and its sidecar takes a moment to listen."""
    now = serving()
    now[place] = [*now.get(place, []), {**now["containerStatuses"][0], "name": "interceptor", "ready": False}]
    await create_pod(cluster, now)
    async with controlling(cluster, admin_url=lambda pod: "http://127.0.0.1:9") as controller:
        await controller.looked_at("Pod", "shop-1")
        assert controller.sample("admin_requests_total", endpoint="/state", status="0") >= 1
        assert await cluster.reasons("shop-1") == []
        now[place][-1]["ready"] = True
        await cluster.set_status("Pod", "shop-1", now)
        await cluster.said("AdminUnreachable", "shop-1")


async def test_an_evicted_pod_is_said_and_left_alone(cluster: Cluster) -> None:
    gone = {"phase": "Failed", "reason": "Evicted", "podIP": "127.0.0.1"}
    await create_pod(cluster, gone)
    async with controlling(cluster, admin_url=lambda pod: "http://127.0.0.1:9") as controller:
        await cluster.said("TargetFailed", "shop-1")
        assert controller.sample("admin_requests_total", endpoint="/state", status="0") == 0
