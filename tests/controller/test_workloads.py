"""The sidecar into templates and out again, Services there and back: a real kopf operator before an API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.controller.cluster import IMAGE, ON, Cluster, controlling, deployment, service, template, until
from tests.controller.clusters import double


async def sidecar_of(cluster: Cluster, name: str = "shop") -> dict[str, Any] | None:
    workload = await cluster.get("Deployment", name)
    assert workload is not None
    containers = workload["spec"]["template"]["spec"].get("initContainers") or []
    return next((each for each in containers if each["name"] == "interceptor"), None)


async def target_port(cluster: Cluster, name: str = "shop") -> Any:
    found = await cluster.get("Service", name)
    assert found is not None
    return found["spec"]["ports"][0]["targetPort"]


async def protected(cluster: Cluster) -> None:
    async def there() -> bool:
        return await sidecar_of(cluster) is not None and await target_port(cluster) == 8001

    await until(there)


async def unprotected(cluster: Cluster) -> None:
    async def gone() -> bool:
        return await sidecar_of(cluster) is None and await target_port(cluster) == "web"

    await until(gone)


async def test_the_annotation_brings_the_sidecar_and_its_removal_leaves_no_trace(cluster: Cluster) -> None:
    content, metadata = deployment()
    before = await cluster.create("Deployment", "shop", content, metadata)
    service_before = await cluster.create("Service", "shop", service())
    async with controlling(cluster) as running:
        await running.looked_at("Deployment", "shop")
        assert await sidecar_of(cluster) is None
        await cluster.patch("Deployment", "shop", {"metadata": {"annotations": ON}})
        await protected(cluster)
        sidecar = await sidecar_of(cluster)
        assert sidecar is not None
        assert sidecar["image"] == IMAGE
        assert sidecar.get("restartPolicy") == ("Always" if cluster.keeps_native_sidecars else None)
        assert "startupProbe" not in sidecar
        assert "--target=http://127.0.0.1:8000" in sidecar["args"]
        await cluster.said("SidecarInjected", "shop")
        await cluster.said("ServicePointed", "shop")
        await cluster.patch("Deployment", "shop", {"metadata": {"annotations": {"crsc.io/checkpoint-restore": None}}})
        await unprotected(cluster)
        await cluster.said("SidecarRemoved")
    after = await cluster.get("Deployment", "shop")
    service_after = await cluster.get("Service", "shop")
    assert after is not None
    assert service_after is not None
    assert after["spec"]["template"] == before["spec"]["template"]
    assert service_after["spec"] == service_before["spec"]
    assert not service_after["metadata"].get("annotations")
    assert await cluster.list("Secret") == []


async def test_it_runs_as_a_user_without_a_name(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the image: 65532 is in no passwd."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("getpass.getuser", nameless)
    await cluster.create("Deployment", "shop", *deployment(ON))
    async with controlling(cluster):
        await cluster.said("SidecarInjected", "shop")


async def test_it_is_patched_once(cluster: Cluster) -> None:
    content, metadata = deployment(ON)
    await cluster.create("Deployment", "shop", content, metadata)
    await cluster.create("Service", "shop", service())
    async with controlling(cluster) as running:
        await protected(cluster)
        for _ in range(3):
            await running.looked_at("Deployment", "shop")
            await running.looked_at("Service", "shop")
    async with controlling(cluster) as running:
        await running.looked_at("Deployment", "shop")
        await running.looked_at("Service", "shop")
    assert sorted(each.resource for each in cluster.asked() if each.verb == "patch") == ["deployments", "services"]


async def test_options_are_annotations(cluster: Cluster) -> None:
    given = {"crsc.io/record": "unsafe", "crsc.io/bypass": "GET:/events/* *:/ws", "crsc.io/hold-dry-run": "true"}
    await cluster.create("Deployment", "shop", *deployment({**ON, **given}))
    await cluster.create("Service", "shop", service())
    async with controlling(cluster):
        await protected(cluster)
        sidecar = await sidecar_of(cluster)
        assert sidecar is not None
        assert {"--record=unsafe", "--bypass=GET:/events/*", "--bypass=*:/ws", "--hold-dry-run"} <= set(sidecar["args"])
        await cluster.patch("Deployment", "shop", {"metadata": {"annotations": {"crsc.io/record": "all"}}})
        await cluster.said("SidecarChanged")
        sidecar = await sidecar_of(cluster)
        assert sidecar is not None
        assert "--record=all" in sidecar["args"]


@pytest.mark.parametrize(
    ("annotations", "replicas", "reason", "words"),
    [
        ({"crsc.io/checkpoint-restore": "yes"}, 1, "InvalidAnnotation", '"true" or "false"'),
        ({**ON, "crsc.io/recrod": "all"}, 1, "InvalidAnnotation", "did you mean crsc.io/record?"),
        ({**ON, "crsc.io/lanes": "many"}, 1, "InvalidAnnotation", "expected a number"),
        ({**ON, "crsc.io/sidecar": "init"}, 1, "InvalidAnnotation", "expected native or container"),
        ({**ON, "crsc.io/listen": "0.0.0.0:80"}, 1, "InvalidAnnotation", "sets this itself"),
        ({**ON, "crsc.io/checkpoint-interval": "often"}, 1, "InvalidAnnotation", "no duration"),
        (ON, 2, "ReplicasNotSupported", "distributed log"),
        ({**ON, "crsc.io/container": "other"}, 1, "ContainerMissing", "only shop"),
        ({**ON, "crsc.io/log-claim": "log"}, 1, "StrategyNotSupported", "Recreate"),
    ],
)
async def test_what_cannot_be_done_is_said_and_nothing_is_patched(
    cluster: Cluster, annotations: dict[str, str], replicas: int, reason: str, words: str
) -> None:
    """Rule 8."""
    before = await cluster.create("Deployment", "shop", *deployment(annotations, replicas))
    service_before = await cluster.create("Service", "shop", service())
    async with controlling(cluster) as running:
        await cluster.said(reason, "shop")
        assert words in await cluster.message(reason)
        assert running.sample("refusals_total", reason=reason) >= 1
    after = await cluster.get("Deployment", "shop")
    assert after is not None
    assert after["spec"] == before["spec"]
    assert await cluster.get("Service", "shop") == service_before
    assert await cluster.list("Secret") == []


async def test_a_service_without_a_port_that_leads_there_is_left_alone(cluster: Cluster) -> None:
    await cluster.create("Deployment", "shop", *deployment(ON))
    before = await cluster.create("Service", "shop", service(9000))
    async with controlling(cluster):
        await cluster.said("ServicePortMissing", "shop")
    assert await cluster.get("Service", "shop") == before


async def test_a_service_that_matches_nothing_is_left_alone_and_its_absence_is_said(cluster: Cluster) -> None:
    await cluster.create("Deployment", "shop", *deployment(ON))
    before = await cluster.create("Service", "shop", service(selector={"app": "other"}))
    async with controlling(cluster):
        await cluster.said("NoService", "shop")
    assert await cluster.get("Service", "shop") == before


async def test_a_service_waits_for_the_rollout(cluster: Cluster) -> None:
    """Pods of the old template have nobody on port 8001."""
    content, metadata = deployment(ON)
    old = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 2}
    await cluster.create("Deployment", "shop", {**content, "status": old}, metadata)
    await cluster.create("Service", "shop", service())
    async with controlling(cluster) as running:
        await cluster.said("SidecarInjected")
        await running.looked_at("Service", "shop")
        assert await target_port(cluster) == "web"
        new = {"observedGeneration": 99, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
        await cluster.set_status("Deployment", "shop", new)
        await protected(cluster)


async def test_a_service_leads_to_its_only_pod_while_that_is_not_ready(cluster: Cluster) -> None:
    """And not to a second one, which a rollout starts beside it, before that is ready."""

    async def published() -> bool:
        found = await cluster.get("Service", "shop")
        assert found is not None
        return bool(found["spec"].get("publishNotReadyAddresses"))

    async def withdrawn() -> bool:
        return not await published()

    content = {"spec": template()["spec"], "status": {"phase": "Running"}}
    labels = {"labels": {"app": "shop"}}
    before = await cluster.create("Service", "shop", service())
    await cluster.create("Deployment", "shop", *deployment(ON))
    await cluster.create("Pod", "evicted", {**content, "status": {"phase": "Failed"}}, labels)
    async with controlling(cluster):
        await protected(cluster)
        assert not await published()
        await cluster.create("Pod", "shop-1", content, labels)
        await until(published)
        await cluster.create("Pod", "shop-2", content, labels)
        await until(withdrawn)
        await cluster.delete("Pod", "shop-1")
        await until(published)
        await cluster.patch(
            "Deployment", "shop", {"metadata": {"annotations": {"crsc.io/checkpoint-restore": "false"}}}
        )
        await unprotected(cluster)
        await until(withdrawn)
    after = await cluster.get("Service", "shop")
    assert after is not None
    assert after["spec"] == before["spec"]
    assert not after["metadata"].get("annotations")


@pytest.mark.parametrize(
    ("minor", "reason"),
    [("28+", "SidecarNotSupported"), ("29", "SidecarInjected")],
)
async def test_a_cluster_that_knows_no_native_sidecars(minor: str, reason: str) -> None:
    """It would take the sidecar for an init container, for whose end the Pod waits forever."""
    async with double(("1", minor)) as cluster:
        before = await cluster.create("Deployment", "shop", *deployment(ON))
        async with controlling(cluster):
            await cluster.said(reason)
            if reason == "SidecarNotSupported":
                assert await cluster.get("Deployment", "shop") == before
                assert "1.28 knows no native sidecars: set crsc.io/sidecar to container" in await cluster.message(
                    reason
                )
                annotations = {"crsc.io/sidecar": "container"}
                await cluster.patch("Deployment", "shop", {"metadata": {"annotations": annotations}})
                await cluster.said("SidecarInjected")
                workload = await cluster.get("Deployment", "shop")
                assert workload is not None
                names = [each["name"] for each in workload["spec"]["template"]["spec"]["containers"]]
                assert names == ["shop", "interceptor"]


async def test_a_deleted_workload_gives_its_service_back(cluster: Cluster) -> None:
    """Also if nobody was there to see it go."""
    await cluster.create("Deployment", "shop", *deployment(ON))
    await cluster.create("Service", "shop", service())
    async with controlling(cluster):
        await protected(cluster)
    await cluster.delete("Deployment", "shop")
    async with controlling(cluster):
        await cluster.said("ServiceRestored")
    assert await target_port(cluster) == "web"


async def test_the_interval_makes_a_checkpoint_resource(cluster: Cluster) -> None:
    await cluster.create("Deployment", "shop", *deployment({**ON, "crsc.io/checkpoint-interval": "10min"}))
    await cluster.create("Service", "shop", service())
    async with controlling(cluster):

        async def there() -> bool:
            return bool(await cluster.list("Checkpoint"))

        await until(there)
        (made,) = await cluster.list("Checkpoint")
        assert made["spec"] == {"target": {"kind": "Deployment", "name": "shop"}, "interval": "10min"}
        await cluster.patch(
            "Deployment", "shop", {"metadata": {"annotations": {"crsc.io/checkpoint-restore": "false"}}}
        )
        await unprotected(cluster)
        assert await cluster.list("Checkpoint") == []


async def test_the_facts_on_the_template_are_json(cluster: Cluster) -> None:
    probe = {"httpGet": {"path": "/ready", "port": "web"}}
    await cluster.create("Deployment", "shop", *deployment(ON, readinessProbe=probe))
    await cluster.create("Service", "shop", service())
    async with controlling(cluster):
        await protected(cluster)
    workload = await cluster.get("Deployment", "shop")
    assert workload is not None
    facts = json.loads(workload["spec"]["template"]["metadata"]["annotations"]["crsc.io/injected"])
    assert (facts["workload"], facts["container"], facts["port"]) == ("Deployment/shop", "shop", 8000)
    # With the defaults that an API server adds.
    assert facts["readinessProbe"]["httpGet"].items() >= probe["httpGet"].items()
    assert "readinessProbe" not in workload["spec"]["template"]["spec"]["containers"][0]
