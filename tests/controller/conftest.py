"""Clusters to test against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import kopf
import pytest

pytest.importorskip("kmock", reason="the Kubernetes API double is not installed: pip install 'kmock>=0.8'")

from tests.controller.cluster import Cluster

RESOURCES = {
    # kopf waits until it has seen that there are namespaces.
    "v1/namespaces": "Namespace",
    "v1/pods": "Pod", "v1/services": "Service", "v1/secrets": "Secret", "v1/events": "Event",
    "apps/v1/deployments": "Deployment", "apps/v1/statefulsets": "StatefulSet",
    "crsc.io/v1alpha1/checkpoints": "Checkpoint", "coordination.k8s.io/v1/leases": "Lease",
}  # fmt: skip
VERBS = {"get", "list", "watch", "create", "patch", "delete"}


@pytest.fixture
async def cluster(kmock: Any) -> AsyncIterator[Cluster]:
    """A cluster without objects."""
    for resource, kind in RESOURCES.items():
        kmock.resources[resource] = {"namespaced": True, "kind": kind, "verbs": VERBS, "subresources": {"status"}}
    async with aiohttp.ClientSession() as session:
        yield Cluster(kopf.ConnectionInfo(server=str(kmock.url).rstrip("/")), session, is_real=False)
