"""The chart's RBAC grants what the controller does, and nothing else; the CRD says what the controller writes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from controller.checkpoint import status_of
from controller.permissions import PERMISSIONS, WATCHED
from tests.controller.cluster import ON, Cluster, controlling, deployment, service

CHART = Path(__file__).parents[2] / "helm" / "interceptor-chart"


def granted() -> set[tuple[str, str, str]]:
    text = (CHART / "templates" / "controller" / "rbac.yaml").read_text()
    blocks = re.findall(r'define "interceptor-chart\.\w+Rules" -}}\n(.*?){{- end', text, re.DOTALL)
    rules = [rule for block in blocks for rule in yaml.safe_load(block)]
    return {(group, resource, verb) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"]
            for verb in rule["verbs"]}  # fmt: skip


def test_what_is_granted_is_what_is_used() -> None:
    assert granted() == PERMISSIONS


async def test_what_was_asked_is_permitted(cluster: Cluster) -> None:
    """kopf's own requests too, but for discovery, which everybody may."""
    await cluster.create("Deployment", "shop", *deployment({**ON, "crsc.io/checkpoint-interval": "1h"}))
    await cluster.create("Service", "shop", service())
    async with controlling(cluster):
        await cluster.said("ServicePointed")
    asked = set(cluster.asked())
    assert {(*resource, "list") for resource in WATCHED} <= {(group, plural, verb) for verb, group, plural in asked}
    assert {(group, plural, verb) for verb, group, plural in asked} <= PERMISSIONS


def test_the_status_that_is_written_is_in_the_schema() -> None:
    crd = yaml.safe_load((CHART / "crds" / "checkpoints.crsc.io.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    newest = {"id": "http-1", "version": 1, "time": 1.0, "engine": "http", "size_bytes": None, "image": None}
    status = status_of({"metadata": {"generation": 1}}, {"Ready": (True, "Reachable", "")}, newest, "shop-1", 2.0)
    assert status.keys() <= schema.keys()
    assert status["lastCheckpoint"].keys() <= schema["lastCheckpoint"]["properties"].keys()
    assert status["conditions"][0].keys() <= schema["conditions"]["items"]["properties"].keys()
