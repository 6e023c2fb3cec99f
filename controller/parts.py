"""What all who look at objects share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

from controller.admin import Admin
from controller.api import Api
from controller.config import Config
from controller.errors import RefusedError
from controller.events import Events
from controller.merge import merge_patch
from controller.metrics import Metrics
from controller.view import View
from controller.workload import admin_token

Object = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """One of each for a controller."""

    config: Config
    view: View
    api: Api
    events: Events
    metrics: Metrics
    session: aiohttp.ClientSession

    def admin(self, pod: Object, owner: str) -> Admin:
        """Return the admin of a Pod's sidecar."""
        token = admin_token(self.config.key, pod["metadata"]["namespace"], owner)
        return Admin(self.session, self.config.admin_url(pod), token, self.metrics, self.api.may_write)

    async def refuse(self, about: Object, error: RefusedError) -> None:
        """Say that something can't be done, and why."""
        self.metrics.refusals.labels(error.reason).inc()
        await self.events.warn(about, error.reason, str(error))

    async def change(self, group: str, resource: str, old: Object, new: Object) -> bool:
        """Make `new` of an object in one request; refused by the API server (409) where it has changed meanwhile.

        Returns whether there was anything to change.
        """
        patch = merge_patch(old, new)
        if not patch:
            return False
        metadata = old["metadata"]
        patch.setdefault("metadata", {})["resourceVersion"] = metadata.get("resourceVersion")
        seen = self.view.seen(old["kind"], metadata["namespace"], metadata["name"])
        answer = await self.api.patch(group, resource, metadata["namespace"], metadata["name"], patch)
        self.view.note(old["kind"], seen, answer)
        return True
