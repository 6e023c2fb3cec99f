"""A Kubernetes API to test against, kmock's or a real one, and a real controller in this process before it.

Tests speak to the API over HTTP only, as users do.  What only one of the two can tell is behind `Cluster.asked`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiohttp
import kopf

from controller.config import Config
from controller.controller import Controller
from controller.main import operate
from controller.metrics import Metrics
from controller.queue import Key

Object = dict[str, Any]

KEY = b"a key of sixteen bytes and more"
IMAGE = "registry.example/interceptor:1"
# The chart's, for a release called demo.
LEASE = "demo-interceptor"
PATHS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments", "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "Service": "/api/v1/namespaces/{}/services", "Pod": "/api/v1/namespaces/{}/pods",
    "Secret": "/api/v1/namespaces/{}/secrets", "Event": "/api/v1/namespaces/{}/events",
    "Checkpoint": "/apis/crsc.io/v1alpha1/namespaces/{}/checkpoints",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
}  # fmt: skip
API_VERSIONS = {
    "Deployment": "apps/v1", "StatefulSet": "apps/v1", "Service": "v1", "Pod": "v1", "Secret": "v1", "Event": "v1",
    "Checkpoint": "crsc.io/v1alpha1", "Lease": "coordination.k8s.io/v1",
}  # fmt: skip


class Asked(NamedTuple):
    """A request of the controller's to the API, as RBAC sees it."""

    verb: str
    group: str
    resource: str


# The first version that lets init containers have probes, and the restartPolicy that makes a sidecar of one.
NATIVE_SIDECARS = (1, 29)


@dataclass
class Cluster:
    """One namespace of an API server: `info` is a user's way in, who may do everything there.

    `controller_info` is the controller's, which has the rights that the chart gives.
    """

    info: kopf.ConnectionInfo
    session: aiohttp.ClientSession
    controller_info: kopf.ConnectionInfo
    namespace: str
    asked: Callable[[], list[Asked]]
    # Of a real API server; None of a double, which takes everything and keeps it as it is.
    version: tuple[int, int] | None = None
    server: Any = None
    _made: int = 0

    @property
    def keeps_native_sidecars(self) -> bool:
        """Whether init containers keep `restartPolicy` and may have probes; the supported versions do."""
        return self.version is None or self.version >= NATIVE_SIDECARS

    async def create(self, kind: str, name: str, content: Object, metadata: Object | None = None) -> Object:
        """Create an object and give it its status, where it has one."""
        given = {"name": name, "namespace": self.namespace, **(metadata or {})}
        body = {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": given, **content}
        if self.version is None:
            # The double does not set what an API server sets.
            self._made += 1
            given |= {"uid": f"uid-{self._made}", "resourceVersion": str(self._made), "generation": 1}
            return await self._ask("POST", self._path(kind), body)
        made = await self._ask("POST", self._path(kind), body)
        return await self.set_status(kind, name, content["status"]) if "status" in content else made

    def _path(self, kind: str, name: str = "") -> str:
        return PATHS[kind].format(self.namespace) + (f"/{name}" if name else "")

    async def get(self, kind: str, name: str) -> Object | None:
        """Return an object, None if there is none."""
        found = await self._ask("GET", self._path(kind, name), None, missing={})
        return found or None

    async def list(self, kind: str) -> list[Object]:
        """Return all of a kind."""
        return list((await self._ask("GET", self._path(kind), None))["items"])

    async def patch(self, kind: str, name: str, change: Object) -> Object:
        """Merge a change into an object."""
        return await self._ask("PATCH", self._path(kind, name), change)

    async def set_status(self, kind: str, name: str, status: Object) -> Object:
        """Say what a kubelet or another controller would say."""
        return await self._ask("PATCH", self._path(kind, name) + "/status", {"status": status})

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object."""
        await self._ask("DELETE", self._path(kind, name), None)

    async def reasons(self, name: str | None = None) -> list[str]:
        """Return the reasons of Events, about one object or all."""
        events = await self.list("Event")
        return [each["reason"] for each in events if name in (None, each["involvedObject"]["name"])]

    async def message(self, reason: str) -> str:
        """Return the message of the Event of that reason."""
        (message,) = [each["message"] for each in await self.list("Event") if each["reason"] == reason]
        return str(message)

    async def said(self, reason: str, name: str | None = None, timeout_s: float = 10.0) -> None:
        """Return once there is such an Event."""

        async def there() -> bool:
            return reason in await self.reasons(name)

        await until(there, timeout_s)

    async def _ask(self, method: str, path: str, body: Object | None, missing: Object | None = None) -> Object:
        headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        async with self.session.request(
            method, self.info.server + path, json=body, headers={**self.info.as_http_headers(), **headers},
        ) as answer:  # fmt: skip
            if answer.status == 404 and missing is not None:
                return missing
            assert answer.status < 400, await answer.text()
            return dict(await answer.json())


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 10.0) -> None:
    """Ask the API until something holds; it has no event for the effects of others."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 (as said)
            await asyncio.sleep(0.02)


@dataclass
class Running:
    """A controller at work in a namespace."""

    controller: Controller
    metrics: Metrics
    namespace: str
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def sample(self, name: str, **labels: str) -> float:
        """Return a metric."""
        return self.metrics.registry.get_sample_value(f"interceptor_controller_{name}", labels) or 0.0

    async def looked_at(self, kind: str, name: str) -> None:
        """Return once the queue has had this object looked at after now, and nothing waits."""
        view = self.controller.view

        async def known() -> bool:
            return bool(view.indices) and view.get(kind, self.namespace, name) is not None

        await until(known)
        self.controller.queue.add(Key(kind, self.namespace, name))
        done = self.sample("reconciles_total", kind=kind, result="ok")

        async def again() -> bool:
            return self.sample("reconciles_total", kind=kind, result="ok") > done

        await until(again)


@asynccontextmanager
async def controlling(cluster: Cluster, **config: Any) -> AsyncIterator[Running]:
    """A controller that works on this cluster; killed (cancelled, with nothing said to anybody) at the end."""
    metrics = Metrics()
    made = Config(IMAGE, KEY, **{"namespaces": (cluster.namespace,), **config})
    async with aiohttp.ClientSession() as session:
        controller = Controller(made, lambda: cluster.controller_info, session, metrics)
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(controller.work()),
            asyncio.create_task(operate(made, controller, stop, end_kopf=stop)),
        ]
        try:
            yield Running(controller, metrics, cluster.namespace, tasks)
            for task in tasks:
                assert not task.done(), task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await controller.api.close()


def template(**container: Any) -> Object:
    """A Pod template of one container on port 8000."""
    return {
        "metadata": {"labels": {"app": "shop"}},
        "spec": {
            "containers": [
                {"name": "shop", "image": "shop:1", "ports": [{"name": "web", "containerPort": 8000}], **container}
            ]
        },
    }


def deployment(annotations: dict[str, str] | None = None, replicas: int = 1, **container: Any) -> tuple[Object, Object]:
    """Content and metadata of a Deployment."""
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "shop"}}, "template": template(**container)}
    return {"spec": spec}, {"annotations": annotations or {}}


def service(target_port: Any = "web", selector: dict[str, str] | None = None) -> Object:
    """Content of a Service."""
    ports = [{"name": "http", "port": 80, "targetPort": target_port, "protocol": "TCP"}]
    return {"spec": {"selector": selector or {"app": "shop"}, "ports": ports}}


ON = {"crsc.io/checkpoint-restore": "true"}
