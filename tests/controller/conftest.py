"""Clusters to test against: kmock's, and where KUBEBUILDER_ASSETS names them a real kube-apiserver and etcd."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kmock", reason="the Kubernetes API double is not installed: pip install 'kmock>=0.8'")

import controller.template
import controller.workloads
from helm import kubernetes_tools
from tests.api_server import ApiServer
from tests.controller.cluster import NATIVE_SIDECARS, Cluster
from tests.controller.clusters import PLACEHOLDER, RealClusters, double

CHART = Path(__file__).parents[2] / "helm" / "interceptor-chart"
Clusters = Callable[[], AbstractAsyncContextManager[Cluster]]


def rendered(*values: str) -> list[dict[str, Any]]:
    """Return what helm makes of the chart for the namespace PLACEHOLDER; skips where there is no helm."""
    helm = kubernetes_tools.find("helm")
    if helm is None:
        pytest.skip("helm, which renders the controller's rights, is not here: make k8s-tools")
    command = [helm, "template", "demo", str(CHART), f"--namespace={PLACEHOLDER}", "--set=mode=controller"]
    done = subprocess.run(
        [*command, *(f"--set={value}" for value in values)], capture_output=True, text=True, timeout=60, check=True
    )
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@pytest.fixture(scope="session")
def real_clusters(api_server: ApiServer) -> RealClusters:
    """Makes namespaces of it."""
    api_server.define_checkpoints((CHART / "crds" / "checkpoints.crsc.io.yaml").read_text())
    return RealClusters(api_server, rendered(f"controller.namespaces={{{PLACEHOLDER}}}"))


@pytest.fixture(params=["kmock", "kube-apiserver"])
def clusters(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Clusters:
    """Makes clusters without objects, of either kind: every test of the controller is run against both."""
    if request.param == "kmock":
        return double
    made: RealClusters = request.getfixturevalue("real_clusters")
    server: ApiServer = request.getfixturevalue("api_server")
    if server.version < NATIVE_SIDECARS:
        without_probes_of_init_containers(monkeypatch)
    return made.cluster


@pytest.fixture
async def cluster(clusters: Clusters) -> AsyncIterator[Cluster]:
    """A cluster without objects."""
    async with clusters() as made:
        yield made


@pytest.fixture
async def real_cluster(real_clusters: RealClusters, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """A namespace of a real API server, for what a double can't show."""
    async with real_clusters.cluster() as made:
        if not made.keeps_native_sidecars:
            without_probes_of_init_containers(monkeypatch)
        yield made


def without_probes_of_init_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an API server from before 1.29 take the template: it refuses probes there, and drops `restartPolicy`.

    The product does not support these versions; what is tested on one is all else.
    """
    make = controller.template.sidecar_container

    def sidecar_container(*given: Any) -> dict[str, Any]:
        return {name: value for name, value in make(*given).items() if name != "readinessProbe"}

    monkeypatch.setattr(controller.template, "sidecar_container", sidecar_container)
    monkeypatch.setattr(controller.workloads, "NATIVE_SINCE", (1, 0))
