"""Puts the parts together: kopf says what has changed, the queue has it looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import kopf

from controller.api import Api, Login
from controller.checkpoints import Checkpoints
from controller.config import Config
from controller.events import Events
from controller.metrics import Metrics
from controller.names import WORKLOADS
from controller.parts import Parts
from controller.pods import Pods
from controller.queue import Key, WorkQueue
from controller.service import remembered_ports
from controller.services import Services
from controller.sweep import Sweep
from controller.template import injected_facts
from controller.view import View, index_entries, target_of
from controller.workload import derived_name
from controller.workloads import Workloads

RESOURCES = {
    "Deployment": ("apps", "v1", "deployments"), "StatefulSet": ("apps", "v1", "statefulsets"),
    "Service": ("", "v1", "services"), "Pod": ("", "v1", "pods"), "Checkpoint": ("crsc.io", "v1alpha1", "checkpoints"),
}  # fmt: skip


class Controller:
    """Looks at one object at a time; `registry` and `settings` are kopf's."""

    def __init__(self, config: Config, login: Login, session: aiohttp.ClientSession, metrics: Metrics) -> None:
        self.view = View()
        self.api = Api(login, metrics)
        parts = Parts(config, self.view, self.api, Events(self.api, config.clock), metrics, session)
        self._services = services = Services(parts)
        workloads, pods, checkpoints = Workloads(parts, services), Pods(parts), Checkpoints(parts)
        self._looks = {
            "Deployment": workloads.look, "StatefulSet": workloads.look, "Service": services.look, "Pod": pods.look,
            "Checkpoint": checkpoints.look,
        }  # fmt: skip
        self.queue = WorkQueue(lambda key: self._looks[key.kind](key), metrics, RESOURCES)
        self.sweep = Sweep(self.view, self.api, config.namespaces, RESOURCES, self._enqueue)
        self.registry = kopf.OperatorRegistry()
        self._register(login)

    def _register(self, login: Login) -> None:
        @kopf.on.login(registry=self.registry)
        def log_in(**_: Any) -> kopf.ConnectionInfo:
            return login()

        @kopf.on.startup(registry=self.registry)
        def begin(**given: Any) -> None:
            self.view.indices = {each: given[each] for each in RESOURCES}

        for kind, resource in RESOURCES.items():
            self._register_kind(kind, resource)

    def _register_kind(self, kind: str, resource: tuple[str, str, str]) -> None:
        # Plain events: kopf's other handlers note their progress on the objects, and we leave no trace there.
        @kopf.index(*resource, id=kind, registry=self.registry)
        def index(body: kopf.Body, **_: Any) -> dict[Any, Any]:
            return dict(index_entries(kind, body))

        @kopf.on.event(*resource, id=f"{kind}-changed", registry=self.registry)
        async def changed(type: str | None, namespace: str | None, name: str, body: kopf.Body, **_: Any) -> None:
            if type is None:  # From a list: a watch has begun, or begun again.
                self.sweep.soon()
            self._enqueue(Key(kind, str(namespace), name), body)

    async def work(self) -> None:
        """Look at what has changed, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run())
            group.create_task(self.sweep.run())

    def _enqueue(self, key: Key, body: Mapping[str, Any]) -> None:
        """Have the object looked at, and those that depend on it: not all of a namespace, there may be thousands."""
        self.queue.add(key)
        namespace = key.namespace
        if key.kind in WORKLOADS:
            for service in self._services.before(key):
                self.queue.add(service)
        elif key.kind == "Service":
            for workload in self._services.behind(key):
                self.queue.add(workload)
        elif key.kind == "Checkpoint":
            owners = {f"{each['kind']}/{each['name']}" for each in body["metadata"].get("ownerReferences") or ()}
            for kind, _, name in (each.partition("/") for each in owners | {target_of(body)}):
                owner = self.view.get(kind, namespace, name) if kind in WORKLOADS else None
                if owner is not None and derived_name(owner) == key.name:
                    self.queue.add(Key(kind, namespace, name))
        else:
            self._enqueue_around(namespace, body)

    def _enqueue_around(self, namespace: str, pod: Mapping[str, Any]) -> None:
        for service in self.view.selecting(namespace, dict(pod)):
            if remembered_ports(service):
                self.queue.add(Key("Service", namespace, service["metadata"]["name"]))
        if facts := injected_facts(pod["metadata"].get("annotations")):
            for checkpoint in self.view.owned("Checkpoint", namespace, facts["workload"]):
                self.queue.add(Key("Checkpoint", namespace, checkpoint["metadata"]["name"]))


class EndlessPauses:
    """Pauses between tries at an API server that is away: it comes back, and we are not to die of it."""

    def __iter__(self) -> Any:
        pause_s = 0.25
        while True:
            yield pause_s
            pause_s = min(pause_s * 2, 15.0)


def kopf_settings() -> kopf.OperatorSettings:
    """Return settings under which kopf asks for nothing beyond our objects."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # No watching of resource definitions and namespaces: they would need rights of their own.
    settings.scanning.disabled = True
    settings.networking.error_backoffs = EndlessPauses()
    settings.networking.request_timeout = 60.0
    # Whole seconds: an API server refuses timeoutSeconds=300.0.
    settings.watching.server_timeout = 300
    settings.watching.reconnect_backoff = 0.25
    return settings
