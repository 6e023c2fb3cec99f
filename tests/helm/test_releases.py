"""Releases at a real API server, by helm itself: from one mode to the other, and removed without a trace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import CHART

from tests.api_server import ApiServer

NAMESPACE = "releases"
# So that a server before 1.29 takes it.
VALUES = ("--set=interceptor.sidecar=container",)
KINDS = {
    "/api/v1": ("services", "secrets", "serviceaccounts", "configmaps"), "/apis/apps/v1": ("deployments",),
    "/apis/networking.k8s.io/v1": ("networkpolicies",), "/apis/coordination.k8s.io/v1": ("leases",),
    "/apis/rbac.authorization.k8s.io/v1": ("roles", "rolebindings"),
}  # fmt: skip

Release = Callable[..., None]


@pytest.fixture
def release(helm: str, api_server: ApiServer, tmp_path: Path) -> Release:
    """Runs helm for the release `shop` in a namespace of its own."""
    api_server.define_checkpoints((CHART / "crds" / "checkpoints.crsc.io.yaml").read_text())
    api_server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    environment = {
        **os.environ, "KUBECONFIG": str(api_server.kubeconfig(tmp_path / "kubeconfig", namespace=NAMESPACE)),
        **{f"HELM_{kind}_HOME": str(tmp_path / kind) for kind in ("CACHE", "CONFIG", "DATA")},
    }  # fmt: skip

    def run(verb: str, *arguments: str) -> None:
        command = [helm, verb, "shop", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr

    return run


def objects(server: ApiServer) -> list[str]:
    """Return what is in the namespace, and of the cluster's what has the release's name."""
    found = []
    for root, kinds in KINDS.items():
        for kind in kinds:
            items = server.ask("GET", f"{root}/namespaces/{NAMESPACE}/{kind}")["items"] or []
            found += [f"{kind}/{each['metadata']['name']}" for each in items]
    for kind in ("clusterroles", "clusterrolebindings"):
        items = server.ask("GET", f"/apis/rbac.authorization.k8s.io/v1/{kind}")["items"]
        found += [f"{kind}/{each['metadata']['name']}" for each in items if "shop" in each["metadata"]["name"]]
    return sorted(found)


def deployments(server: ApiServer) -> list[str]:
    return [each.removeprefix("deployments/") for each in objects(server) if each.startswith("deployments/")]


def test_a_release_changes_its_mode_and_leaves_nothing(api_server: ApiServer, release: Release) -> None:
    before = objects(api_server)
    release("install", str(CHART), *VALUES, "--set=mode=controller")
    assert deployments(api_server) == ["shop-interceptor-controller"]
    release("upgrade", str(CHART), *VALUES)
    assert deployments(api_server) == ["shop-interceptor"]
    assert [each for each in objects(api_server) if each.startswith(("lease", "cluster"))] == []
    release("upgrade", str(CHART), *VALUES, "--set=mode=controller")
    path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/shop-interceptor"
    assert api_server.ask("GET", path)["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    release("uninstall")
    assert objects(api_server) == before
