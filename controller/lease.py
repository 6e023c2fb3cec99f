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

LEASE_S = 15
RENEW_S = 5.0
STAND_BY_S = 2.0
# Between tries to renew it, and for giving it back.
RETRY_S = 1.0
RELEASE_S = 5.0


class LeaseLostError(ControllerError):
    """Another controller may be at work from now on."""


class Lease:
    """`identity` names this process."""

    def __init__(
        self, api: Api, namespace: str, name: str, identity: str, clock: Callable[[], float] = monotonic,
        lease_s: int = LEASE_S,
    ) -> None:  # fmt: skip
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._lease_s = lease_s
        # Others' clocks are not trusted: a holder is gone once its Lease has not changed for so long by our clock.
        self._seen: tuple[str, float] | None = None
        # Until when nobody else can have taken it; None before it was ours.
        self._ours_until_s: float | None = None
        self._released = False

    def is_held(self) -> bool:
        """Whether it is ours for certain: also a process that was stopped for a while has to know that it is not."""
        return self._ours_until_s is not None and self._clock() < self._ours_until_s

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
        while True:
            # Others count from when they see it: not before it is sent.  A server that does not answer is no excuse.
            left_s = self._lease_s - RENEW_S
            try:
                async with asyncio.timeout(left_s):
                    await asyncio.sleep(RENEW_S)
                    await self._renew_once()
            except TimeoutError:
                raise LeaseLostError("the Lease could not be renewed in time") from None

    async def _renew_once(self) -> None:
        while True:
            try:
                if await self._try():
                    return
            except ApiError as error:
                # Also a conflict (409): somebody has changed it between our two requests, maybe only an annotation.
                logger.warning("the Lease: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            raise LeaseLostError("another controller has taken the Lease, or it was deleted")

    async def release(self) -> None:
        """Give it back, so that the next controller need not wait until it has expired; once."""
        if self._released:
            return
        self._released, self._ours_until_s = True, None
        try:
            async with asyncio.timeout(RELEASE_S):
                lease = await self._get()
                if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    await self._patch(lease, {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()})
        except (ApiError, TimeoutError) as error:
            logger.warning("the Lease is not given back: %s", error or "no answer")

    async def _try(self) -> bool:
        """Take or renew it; returns False where another one holds it.  Raises ApiError, 409 if it has changed."""
        first, lease = self._seen is None, await self._get()
        spec = (lease or {}).get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        unchanged_s = self._unchanged_s(f"{holder} {spec.get('renewTime')}" if lease else "none")
        if lease is None:
            # Deleted, its holder does not know that yet.  And an uninstalled release leaves no new one behind.
            if self._ours_until_s is not None or not (first or unchanged_s > self._lease_s):
                return False
        elif holder not in ("", self._identity) and unchanged_s <= self._lease_s:
            return False
        asked_s = self._clock()
        if lease is None:
            await self._create(self._spec(spec, holder))
        else:
            await self._patch(lease, self._spec(spec, holder))
        # As long as `renew` may go on trying, counted from before it was sent: an answer may take its time.
        self._ours_until_s = asked_s + self._lease_s - RENEW_S
        return True

    def _unchanged_s(self, renewal: str) -> float:
        if self._seen is None or renewal != self._seen[0]:
            self._seen = (renewal, self._clock())
        return self._clock() - self._seen[1]

    async def _create(self, spec: dict[str, Any]) -> None:
        content = {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace}, "spec": spec,
        }  # fmt: skip
        await self._api.create("coordination.k8s.io", "leases", self._namespace, content)

    async def _get(self) -> dict[str, Any] | None:
        try:
            return await self._api.get("coordination.k8s.io", "leases", self._namespace, self._name)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    async def _patch(self, lease: dict[str, Any], spec: dict[str, Any]) -> None:
        change = {"metadata": {"resourceVersion": lease["metadata"].get("resourceVersion")}, "spec": spec}
        await self._api.patch("coordination.k8s.io", "leases", self._namespace, self._name, change)

    def _spec(self, before: dict[str, Any], holder: str) -> dict[str, Any]:
        now = _now()
        spec = {"holderIdentity": self._identity, "leaseDurationSeconds": self._lease_s, "renewTime": now}
        if holder != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": int(before.get("leaseTransitions") or 0) + 1}
        return spec


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
