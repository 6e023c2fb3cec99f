"""One controller at a time: a Lease (coordination.k8s.io/v1), held and renewed as client-go's leader election does.

A second writer is kept out by the object's resourceVersion.  Whoever loses the Lease ends, and is started again by
Kubernetes to stand by.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from controller.api import Api
from controller.errors import ApiError, ControllerError

logger = logging.getLogger(__name__)

NAME = "interceptor-controller"
LEASE_S = 15
RENEW_S = 5.0
STAND_BY_S = 2.0


class LeaseLostError(ControllerError):
    """Another controller may be at work from now on."""


class Lease:
    """`identity` names this process."""

    def __init__(
        self, api: Api, namespace: str, identity: str, clock: Callable[[], float] = monotonic, lease_s: int = LEASE_S
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._lease_s = lease_s
        # Others' clocks are not trusted: a holder is gone once its Lease has not changed for so long by our clock.
        self._seen: tuple[str, float] = ("", clock())

    async def acquire(self) -> None:
        """Return once the Lease is ours."""
        while True:
            try:
                if await self._try():
                    logger.info("this is the controller at work (%s)", self._identity)
                    return
            except ApiError as error:
                logger.warning("the Lease: %s", error)
            await asyncio.sleep(STAND_BY_S)

    async def renew(self) -> None:
        """Keep the Lease for as long as possible.  Raises LeaseLostError."""
        renewed_s = self._clock()
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                if not await self._try():
                    raise LeaseLostError("another controller has taken the Lease")
                renewed_s = self._clock()
            except ApiError as error:
                logger.warning("the Lease: %s", error)
                if self._clock() - renewed_s > self._lease_s - RENEW_S:
                    raise LeaseLostError("the Lease could not be renewed in time") from error

    async def _try(self) -> bool:
        try:
            lease = await self._api.get("coordination.k8s.io", "leases", self._namespace, NAME)
        except ApiError as error:
            if error.status != 404:
                raise
            return await self._create()
        spec = lease.get("spec") or {}
        holder, renewal = spec.get("holderIdentity") or "", f"{spec.get('holderIdentity')} {spec.get('renewTime')}"
        if renewal != self._seen[0]:
            self._seen = (renewal, self._clock())
        if holder not in ("", self._identity) and self._clock() - self._seen[1] <= self._lease_s:
            return False
        version = lease["metadata"].get("resourceVersion")
        change = {"metadata": {"resourceVersion": version}, "spec": self._spec(spec, holder)}
        return await self._written(self._api.patch("coordination.k8s.io", "leases", self._namespace, NAME, change))

    async def _create(self) -> bool:
        lease = {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": NAME, "namespace": self._namespace}, "spec": self._spec({}, ""),
        }  # fmt: skip
        return await self._written(self._api.create("coordination.k8s.io", "leases", self._namespace, lease))

    async def _written(self, request: Any) -> bool:
        try:
            await request
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    def _spec(self, before: dict[str, Any], holder: str) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self._identity, "leaseDurationSeconds": self._lease_s, "renewTime": now}
        if holder != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": int(before.get("leaseTransitions") or 0) + 1}
        return spec
