"""Others who write the same objects: a second controller, users with kubectl and helm, somebody who changes a Service.

The real kubectl and helm against a real API server; what they merge with is theirs to know.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm import kubernetes_tools
from tests.api_server import ApiServer
from tests.controller.cluster import ON, Cluster, Object, controlling, deployment, service, until
from tests.controller.test_workloads import protected, sidecar_of, target_port, unprotected

PROBE = {"httpGet": {"path": "/ready", "port": "web"}}


class Tools:
    """kubectl and helm as a user of one namespace runs them."""

    def __init__(self, config: Path, directory: Path) -> None:
        self._config = config
        self._directory = directory

    async def run(self, tool: str, *arguments: str) -> str:
        """Return what it prints; a failure is an AssertionError with what it says."""
        path = kubernetes_tools.find(tool)
        if path is None:
            pytest.skip(f"{tool} is not here: make k8s-tools")
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self._directory), "KUBECONFIG": str(self._config)}
        done = await asyncio.to_thread(
            subprocess.run,
            [path, *arguments],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    async def apply(self, *objects: Object, **options: str) -> str:
        """`kubectl apply`."""
        manifest = self._directory / "manifest.yaml"
        manifest.write_text(yaml.safe_dump_all(objects))
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        return await self.run("kubectl", "apply", "--validate=false", f"--filename={manifest}", *flags)


@pytest.fixture
def tools(real_cluster: Cluster, api_server: ApiServer, tmp_path: Path) -> Tools:
    """The user's command line."""
    return Tools(api_server.kubeconfig(tmp_path / "kubeconfig", namespace=real_cluster.namespace), tmp_path)


def manifests(target: Any = "web", **container: Any) -> tuple[Object, Object]:
    """What the user has in a file: a Deployment with the annotation, and its Service."""
    content, metadata = deployment(ON, **container)
    return (
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop", **metadata}, **content},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, **service(target)},
    )


async def settled(cluster: Cluster) -> None:
    """Return once the sidecar stands before the application again, and answers the readiness."""

    async def there() -> bool:
        workload = await cluster.get("Deployment", "shop")
        assert workload is not None
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        sidecar = await sidecar_of(cluster)
        return sidecar is not None and "readinessProbe" not in container and await target_port(cluster) == 8001

    await until(there, 30)


@pytest.mark.parametrize("server_side", ["false", "true"])
async def test_the_users_manifest_is_applied_again(real_cluster: Cluster, tools: Tools, server_side: str) -> None:
    """The sidecar is not the user's to remove; probe and target port are in the manifest, and come back until seen."""
    await tools.apply(*manifests(readinessProbe=PROBE), server_side=server_side)
    async with controlling(real_cluster):
        await settled(real_cluster)
        before = await sidecar_of(real_cluster)
        # The target port is the controller's now: a server-side apply has to be told that this is known.
        force = {"force_conflicts": "true"} if server_side == "true" else {}
        await tools.apply(*manifests(readinessProbe=PROBE, image="shop:2"), server_side=server_side, **force)
        await settled(real_cluster)
        assert await sidecar_of(real_cluster) == before
        workload = await real_cluster.get("Deployment", "shop")
        assert workload is not None
        assert workload["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:2"


async def test_a_manifest_that_names_the_sidecars_port_has_no_conflict(real_cluster: Cluster, tools: Tools) -> None:
    """Also not by server-side apply, which helm 4 uses; without the sidecar it leads to the application."""
    await tools.apply(*manifests(), server_side="true")
    async with controlling(real_cluster):
        await protected(real_cluster)
        with pytest.raises(AssertionError, match="interceptor-controller"):
            await tools.apply(*manifests(), server_side="true")
        await tools.apply(*manifests(8001), server_side="true")
        await protected(real_cluster)
        await real_cluster.patch(
            "Deployment", "shop", {"metadata": {"annotations": {"crsc.io/checkpoint-restore": None}}}
        )
        await unprotected(real_cluster)


async def test_the_users_chart_is_upgraded(real_cluster: Cluster, tools: Tools, tmp_path: Path) -> None:
    """helm's three-way merge, as helm 3 does it and helm 4 on request."""
    chart = tmp_path / "shop"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: shop, version: 0.1.0}")
    text = yaml.safe_dump_all(manifests(readinessProbe=PROBE, image="IMAGE"))
    (chart / "templates" / "all.yaml").write_text(text.replace("IMAGE", "{{ .Values.image }}"))
    flags = ["--server-side=false", "--disable-openapi-validation"]
    await tools.run("helm", "install", "shop", str(chart), "--set=image=shop:1", *flags)
    async with controlling(real_cluster):
        await settled(real_cluster)
        await tools.run("helm", "upgrade", "shop", str(chart), "--set=image=shop:2", *flags)
        await settled(real_cluster)
        workload = await real_cluster.get("Deployment", "shop")
        assert workload is not None
        assert workload["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:2"


async def test_a_rollout_is_undone(cluster: Cluster) -> None:
    """The old template has no sidecar: it comes back, and the Service does not lead past it in between."""
    content, metadata = deployment(ON)
    await cluster.create("Deployment", "shop", content, metadata)
    await cluster.create("Service", "shop", service())
    async with controlling(cluster):
        await protected(cluster)
        pointed = await cluster.get("Service", "shop")
        workload = await cluster.get("Deployment", "shop")
        assert pointed is not None
        assert workload is not None
        away = {"initContainers": None, "volumes": None}
        facts = {"crsc.io/injected": None}
        undone = {"spec": {"template": {"metadata": {"annotations": facts}, "spec": away}}}
        await cluster.patch("Deployment", "shop", undone)
        await protected(cluster)
    found = await cluster.get("Service", "shop")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == pointed["metadata"]["resourceVersion"]
    assert "ServiceRestored" not in await cluster.reasons()


async def test_an_undone_rollout_can_take_the_annotation_with_it(cluster: Cluster) -> None:
    """`kubectl rollout undo` also sets the annotations of then; nothing of the sidecar's may stay behind."""
    content, metadata = deployment({**ON, "crsc.io/checkpoint-interval": "1h"})
    await cluster.create("Deployment", "shop", content, metadata)
    await cluster.create("Service", "shop", service())
    async with controlling(cluster) as running:
        await protected(cluster)

        async def complete() -> bool:
            return bool(await cluster.list("Checkpoint") and await cluster.list("Secret"))

        await until(complete)
        await running.looked_at("Deployment", "shop")
        away = {"initContainers": None, "volumes": None}
        undone = {"spec": {"template": {"metadata": {"annotations": {"crsc.io/injected": None}}, "spec": away}}}
        await cluster.patch(
            "Deployment", "shop", {"metadata": {"annotations": dict.fromkeys(metadata["annotations"])}, **undone}
        )

        async def gone() -> bool:
            return not (await cluster.list("Checkpoint") or await cluster.list("Secret"))

        await unprotected(cluster)
        await until(gone)


async def test_somebody_renumbers_the_port_of_a_service(cluster: Cluster) -> None:
    """What the new number led to is not noted: without the sidecar it leads to the application all the same."""
    await cluster.create("Deployment", "shop", *deployment(ON))
    await cluster.create("Service", "shop", service())
    async with controlling(cluster) as running:
        await protected(cluster)
        ports = [{"name": "http", "port": 81, "targetPort": 8001, "protocol": "TCP"}]
        await cluster.patch("Service", "shop", {"spec": {"ports": ports}})

        async def noted() -> bool:
            found = await cluster.get("Service", "shop")
            assert found is not None
            return json.loads(found["metadata"]["annotations"]["crsc.io/original-target-ports"]) == {"81/TCP": 8000}

        await until(noted)
        assert "ServicePortMissing" not in await cluster.reasons()
        await running.looked_at("Service", "shop")
        await cluster.patch("Deployment", "shop", {"metadata": {"annotations": dict.fromkeys(ON)}})

        async def back() -> bool:
            return bool(await target_port(cluster) == 8000)

        await until(back)
