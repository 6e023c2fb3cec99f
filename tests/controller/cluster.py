"""A Kubernetes API to test against (kmock's), and a real controller in this process before it.

Tests speak to the API over HTTP only, as users do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import kmock
import kopf

from controller.config import Config
from controller.controller import Controller
from controller.main import operate
from controller.metrics import Metrics
from controller.queue import Key

Object = dict[str, Any]

KEY = b"a key of sixteen bytes and more"
IMAGE = "registry.example/interceptor:1"
NAMESPACE = "default"
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


@dataclass
class Cluster:
    """The API server as a user sees it."""

    info: kopf.ConnectionInfo
    session: aiohttp.ClientSession
    _made: int = 0

    async def create(self, kind: str, name: str, content: Object, metadata: Object | None = None) -> Object:
        """Create an object and give it its status, where it has one."""
        given = {"name": name, "namespace": NAMESPACE, **(metadata or {})}
        # The double does not set what an API server sets.
        self._made += 1
        given |= {"uid": f"uid-{self._made}", "resourceVersion": str(self._made), "generation": 1}
        body = {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": given, **content}
        return await self._ask("POST", PATHS[kind].format(NAMESPACE), body)

    async def get(self, kind: str, name: str) -> Object | None:
        """Return an object, None if there is none."""
        found = await self._ask("GET", f"{PATHS[kind].format(NAMESPACE)}/{name}", None, missing={})
        return found or None

    async def list(self, kind: str) -> list[Object]:
        """Return all of a kind."""
        return list((await self._ask("GET", PATHS[kind].format(NAMESPACE), None))["items"])

    async def patch(self, kind: str, name: str, change: Object) -> Object:
        """Merge a change into an object."""
        return await self._ask("PATCH", f"{PATHS[kind].format(NAMESPACE)}/{name}", change)

    async def set_status(self, kind: str, name: str, status: Object) -> Object:
        """Say what a kubelet or another controller would say."""
        return await self._ask("PATCH", f"{PATHS[kind].format(NAMESPACE)}/{name}/status", {"status": status})

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object."""
        await self._ask("DELETE", f"{PATHS[kind].format(NAMESPACE)}/{name}", None)

    async def reasons(self, name: str | None = None) -> list[str]:
        """Return the reasons of Events, about one object or all."""
        events = await self.list("Event")
        return [each["reason"] for each in events if name in (None, each["involvedObject"]["name"])]

    async def message(self, reason: str) -> str:
        """Return the message of the Event of that reason."""
        (message,) = [each["message"] for each in await self.list("Event") if each["reason"] == reason]
        return str(message)

    async def said(self, reason: str, name: str | None = None) -> None:
        """Return once there is such an Event."""

        async def there() -> bool:
            return reason in await self.reasons(name)

        await until(there)

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
    """A controller at work."""

    controller: Controller
    metrics: Metrics
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def sample(self, name: str, **labels: str) -> float:
        """Return a metric."""
        return self.metrics.registry.get_sample_value(f"interceptor_controller_{name}", labels) or 0.0

    async def looked_at(self, kind: str, name: str) -> None:
        """Return once the queue has had this object looked at after now, and nothing waits."""
        view = self.controller.view

        async def known() -> bool:
            return bool(view.indices) and view.get(kind, NAMESPACE, name) is not None

        await until(known)
        self.controller.queue.add(Key(kind, NAMESPACE, name))
        done = self.sample("reconciles_total", kind=kind, result="ok")

        async def again() -> bool:
            return self.sample("reconciles_total", kind=kind, result="ok") > done

        await until(again)


@asynccontextmanager
async def double() -> AsyncIterator[Cluster]:
    """A cluster of kmock's, of one's own."""
    async with kmock.KubernetesEmulator() as emulator, kmock.Server(emulator), aiohttp.ClientSession() as session:
        declare_resources(emulator)
        yield Cluster(kopf.ConnectionInfo(server=str(emulator.url).rstrip("/")), session)


def declare_resources(emulator: Any) -> None:
    """Let it answer discovery as an API server does."""
    # Its own is 1.26.  Behind the rules that a test makes.
    emulator["get /version"] ** -1 << {"major": "1", "minor": "36"}
    verbs = {"get", "list", "watch", "create", "patch", "delete"}
    # kopf waits until it has seen that there are namespaces.
    emulator.resources["v1/namespaces"] = {"namespaced": False, "kind": "Namespace", "verbs": verbs}
    for kind, path in PATHS.items():
        resource = f"{API_VERSIONS[kind]}/{path.rsplit('/', 1)[-1]}"
        emulator.resources[resource] = {"namespaced": True, "kind": kind, "verbs": verbs, "subresources": {"status"}}


@asynccontextmanager
async def controlling(cluster: Cluster, **config: Any) -> AsyncIterator[Running]:
    """A controller that works on this cluster; killed (cancelled, with nothing said to anybody) at the end."""
    metrics = Metrics()
    made = Config(IMAGE, KEY, namespaces=(NAMESPACE,), **config)
    async with aiohttp.ClientSession() as session:
        controller = Controller(made, lambda: cluster.info, session, metrics)
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(controller.queue.run()),
            asyncio.create_task(operate(made, controller, stop)),
        ]
        try:
            yield Running(controller, metrics, tasks)
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
