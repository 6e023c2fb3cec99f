"""Clusters for the tests: kmock's double, and namespaces of a real API server with the rights of the chart."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import kmock
import kopf

from tests.api_server import ADMIN_TOKEN, ApiServer
from tests.controller.cluster import API_VERSIONS, PATHS, Asked, Cluster

Object = dict[str, Any]

_VERBS = {"GET": "list", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
_CONTROLLERS = ("kopf", "interceptor-controller")
# In what helm has rendered once; each test has a namespace of its own.
PLACEHOLDER = "namespace-of-the-test"
_RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


@asynccontextmanager
async def double(version: tuple[str, str] = ("1", "36")) -> AsyncIterator[Cluster]:
    """A cluster of kmock's that says to be of a version of Kubernetes."""
    async with kmock.KubernetesEmulator() as emulator, kmock.Server(emulator), aiohttp.ClientSession() as session:
        _declare_resources(emulator)
        emulator["get /version"] << {"major": version[0], "minor": version[1]}
        info = kopf.ConnectionInfo(server=str(emulator.url).rstrip("/"))
        yield Cluster(info, session, info, "default", lambda: _asked_of_double(emulator))


def _declare_resources(emulator: Any) -> None:
    """Let it answer discovery as an API server does."""
    verbs = {"get", "list", "watch", "create", "patch", "delete"}
    # kopf waits until it has seen that there are namespaces.
    emulator.resources["v1/namespaces"] = {"namespaced": False, "kind": "Namespace", "verbs": verbs}
    for kind, path in PATHS.items():
        resource = f"{API_VERSIONS[kind]}/{path.rsplit('/', 1)[-1]}"
        emulator.resources[resource] = {"namespaced": True, "kind": kind, "verbs": verbs, "subresources": {"status"}}


def _asked_of_double(emulator: Any) -> list[Asked]:
    asked = []
    for request in list(emulator):
        resource = request.resource
        if resource is None or not resource.plural:  # Discovery, which everybody may.
            continue
        if request.headers.get("User-Agent", "").startswith(_CONTROLLERS):
            below = f"/{request.subresource}" if request.subresource else ""
            asked.append(Asked(_VERBS[str(request.method.value)], resource.group, resource.plural + below))
    return asked


class RealClusters:
    """Namespaces of one API server; `rights` is what the chart renders of RBAC for PLACEHOLDER."""

    def __init__(self, server: ApiServer, rights: list[Object]) -> None:
        self._server = server
        self._rights = [each for each in rights if each["kind"] in _RIGHTS]
        self._made = 0

    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[Cluster]:
        """A namespace, in which a service account has the controller's rights."""
        self._made += 1
        namespace = f"test-{self._made}"
        self._server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        token = self._account(namespace)
        info = self._info(ADMIN_TOKEN)
        connector = aiohttp.TCPConnector(ssl=info.as_ssl_context())
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Cluster(
                info, session, self._info(token), namespace, lambda: self._asked(namespace),
                self._server.version, self._server,
            )  # fmt: skip

    def _info(self, token: str) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=self._server.url, ca_path=str(self._server.ca_file), token=token)

    def _account(self, namespace: str) -> str:
        """Make the chart's service account and its rights; returns a token of it."""
        name = ""
        for item in json.loads(json.dumps(self._rights).replace(PLACEHOLDER, namespace)):
            group = "/api/v1" if item["apiVersion"] == "v1" else f"/apis/{item['apiVersion']}"
            within = f"/namespaces/{item['metadata']['namespace']}" if "namespace" in item["metadata"] else ""
            self._server.ask("POST", f"{group}{within}/{item['kind'].lower()}s", item)
            if item["kind"] == "ServiceAccount":
                name = item["metadata"]["name"]
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return str(self._server.ask("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"])

    def _asked(self, namespace: str) -> list[Asked]:
        """What the audit log tells of the service accounts of a namespace, refused requests too."""
        asked = []
        for line in self._server.audit_log.read_text().splitlines():
            if f"system:serviceaccount:{namespace}:" not in line:
                continue
            entry = json.loads(line)
            about = entry.get("objectRef")
            if about is not None and "resource" in about:
                below = f"/{about['subresource']}" if "subresource" in about else ""
                asked.append(Asked(entry["verb"], about.get("apiGroup", ""), about["resource"] + below))
        return asked
