"""Looks at a Deployment or StatefulSet: adds the sidecar, keeps it as asked for, takes it away again.

Every step can be repeated, so a controller that was killed between two of them begins again and comes to the same end.
"""

from __future__ import annotations

import base64
from typing import Any

from controller.annotations import Wanted, read_wanted
from controller.checkpoint import checkpoint_for, is_ours
from controller.errors import ApiError, RefusedError
from controller.names import PREFIX, WORKLOADS
from controller.parts import Parts
from controller.queue import Key
from controller.services import Services
from controller.template import injected_facts, with_sidecar, without_sidecar
from controller.workload import (
    admin_token,
    check_replicas,
    derived_name,
    owner_of,
    owner_reference,
    rolled_out,
    token_digest,
)

Object = dict[str, Any]
# Init containers with restartPolicy Always; an older API server drops that field without a word.
NATIVE_SINCE = (1, 29)
TOKEN_SUFFIX = "-interceptor-token"


class Workloads:
    """Keeps templates, tokens and Checkpoint resources as the annotations say."""

    def __init__(self, parts: Parts, services: Services) -> None:
        self._parts = parts
        self._services = services
        # Secrets that were seen to this process's satisfaction; only to ask less often.
        self._tokens: set[tuple[str, str]] = set()
        # A cluster is not made older, so asked until it does.
        self._knows_native = False

    async def look(self, key: Key) -> float | None:
        """Bring one workload to what its annotations ask for."""
        workload = self._parts.view.get(*key)
        if workload is None or workload["metadata"].get("deletionTimestamp"):
            return None
        try:
            wanted = read_wanted(workload["metadata"].get("annotations") or {})
            if wanted is None:
                await self._remove(workload)
            else:
                check_replicas(workload, wanted)
                await self._check_native(wanted)
                await self._inject(workload, wanted)
                await self._keep_checkpoint(workload, wanted)
                await self._see_that_a_service_leads_here(workload)
        except RefusedError as error:
            await self._parts.refuse(workload, error)
        return None

    async def _check_native(self, wanted: Wanted) -> None:
        """Refuse what would be an ordinary init container, for whose end the Pod would wait forever."""
        if not wanted.native or self._knows_native:
            return
        version = await self._parts.api.version()
        self._knows_native = version is not None and version >= NATIVE_SINCE
        if version is not None and version < NATIVE_SINCE:
            raise RefusedError(
                "SidecarNotSupported",
                f"Kubernetes {version[0]}.{version[1]} knows no native sidecars: set {PREFIX}sidecar to container",
            )

    async def _inject(self, workload: Object, wanted: Wanted) -> None:
        namespace = workload["metadata"]["namespace"]
        token = admin_token(self._parts.config.key, namespace, owner_of(workload))
        secret = derived_name(workload, TOKEN_SUFFIX)
        new = with_sidecar(
            workload["spec"]["template"], wanted, image=self._parts.config.sidecar_image, token_secret=secret,
            token_digest=token_digest(token), owner=owner_of(workload),
        )  # fmt: skip
        before = injected_facts((workload["spec"]["template"].get("metadata") or {}).get("annotations"))
        await self._keep_token(
            workload, secret, token, known=before is not None and before["token"] == token_digest(token)
        )
        changed = {**workload, "spec": {**workload["spec"], "template": new}}
        if await self._parts.change("apps", WORKLOADS[workload["kind"]], workload, changed):
            facts = injected_facts(new["metadata"]["annotations"])
            assert facts is not None
            message = f"the sidecar stands before port {facts['port']} of the container {facts['container']}"
            await self._parts.events.normal(
                workload, "SidecarInjected" if before is None else "SidecarChanged", message, key=facts["digest"]
            )

    async def _keep_token(self, workload: Object, name: str, token: str, *, known: bool) -> None:
        """Have the Secret in place before a Pod needs it.  It can't be read, so a doubtful one is made anew."""
        namespace, noted = workload["metadata"]["namespace"], (workload["metadata"]["uid"], token)
        if noted in self._tokens:
            return
        secret = {
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner_reference(workload)]},
            "data": {"token": base64.b64encode(token.encode()).decode()},
        }  # fmt: skip
        try:
            await self._parts.api.create("", "secrets", namespace, secret)
        except ApiError as error:
            if error.status != 409:
                raise
            if not known:
                await self._parts.api.delete("", "secrets", namespace, name)
                await self._parts.api.create("", "secrets", namespace, secret)
        self._tokens.add(noted)

    async def _remove(self, workload: Object) -> None:
        """Take everything back: first what leads clients to the sidecar, last what shows that there was one."""
        template = workload["spec"]["template"]
        if injected_facts((template.get("metadata") or {}).get("annotations")) is None:
            await self._drop_what_is_left(workload)
            return
        namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
        for service in list(self._parts.view.selecting(namespace, template)):
            await self._services.point_back(service)
        await self._drop_checkpoint(workload)
        await self._drop_token(workload)
        changed = {**workload, "spec": {**workload["spec"], "template": without_sidecar(template)}}
        if await self._parts.change("apps", WORKLOADS[workload["kind"]], workload, changed):
            await self._parts.events.normal(
                workload, "SidecarRemoved", f"{name} runs without the sidecar again",
                key=str(workload["metadata"].get("resourceVersion")),
            )  # fmt: skip

    async def _drop_what_is_left(self, workload: Object) -> None:
        """`kubectl rollout undo` gives back template and annotations from before there was a sidecar."""
        namespace = workload["metadata"]["namespace"]
        present = self._parts.view.get("Checkpoint", namespace, derived_name(workload))
        known = any(uid == workload["metadata"]["uid"] for uid, _ in self._tokens)
        if known or (present is not None and is_ours(present)):
            await self._drop_token(workload)
            await self._drop_checkpoint(workload)

    async def _drop_token(self, workload: Object) -> None:
        namespace = workload["metadata"]["namespace"]
        await self._parts.api.delete("", "secrets", namespace, derived_name(workload, TOKEN_SUFFIX))
        self._tokens = {noted for noted in self._tokens if noted[0] != workload["metadata"]["uid"]}

    async def _keep_checkpoint(self, workload: Object, wanted: Wanted) -> None:
        if wanted.checkpoint_interval_s is None:
            await self._drop_checkpoint(workload)
            return
        namespace = workload["metadata"]["namespace"]
        interval = workload["metadata"]["annotations"][f"{PREFIX}checkpoint-interval"]
        made = checkpoint_for(workload, interval.strip(), wanted.checkpoint_retention)
        present = self._parts.view.get("Checkpoint", namespace, made["metadata"]["name"])
        if present is None:
            try:
                await self._parts.api.create("crsc.io", "checkpoints", namespace, made)
            except ApiError as error:
                if error.status != 409:
                    raise
        elif is_ours(present):
            await self._parts.change("crsc.io", "checkpoints", present, {**present, "spec": made["spec"]})

    async def _drop_checkpoint(self, workload: Object) -> None:
        namespace, name = workload["metadata"]["namespace"], derived_name(workload)
        present = self._parts.view.get("Checkpoint", namespace, name)
        if present is not None and is_ours(present):
            await self._parts.api.delete("crsc.io", "checkpoints", namespace, name)

    async def _see_that_a_service_leads_here(self, workload: Object) -> None:
        """Say it if none does: whoever asks the Pods past the sidecar is not recorded."""
        services = self._parts.view.selecting(workload["metadata"]["namespace"], workload["spec"]["template"])
        if rolled_out(workload) and next(services, None) is None:
            await self._parts.events.warn(
                workload, "NoService", "no Service selects these Pods: clients have to use port 8001 of the Pod"
            )
