"""The few requests to the Kubernetes API besides kopf's watches; kopf's login serves for both."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import aiohttp
import kopf

from controller.errors import ApiError
from controller.metrics import Metrics
from controller.names import MANAGER
from controller.permissions import PERMISSIONS

logger = logging.getLogger(__name__)

Object = dict[str, Any]
Login = Callable[[], kopf.ConnectionInfo]

TIMEOUT_S = 30.0
_ROOTS = {
    "": "/api/v1", "apps": "/apis/apps/v1", "crsc.io": "/apis/crsc.io/v1alpha1",
    "coordination.k8s.io": "/apis/coordination.k8s.io/v1",
}  # fmt: skip
_METHODS = {"get": "GET", "list": "GET", "create": "POST", "patch": "PATCH", "delete": "DELETE"}
CHANGING = frozenset({"create", "patch", "delete"})
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io, application/json"
# The API server notes by it who has set a field, and names it to those who apply another value.
USER_AGENT = f"{MANAGER}/1"


class Api:
    """Raises ApiError; 404 and 409 are the caller's to judge by its status."""

    def __init__(self, login: Login, metrics: Metrics) -> None:
        self._login = login
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None
        # Whether this is the controller at work; asked before each request that changes something.
        self.may_write: Callable[[], bool] = lambda: True

    async def get(self, group: str, resource: str, namespace: str, name: str) -> Object:
        """Return an object."""
        return await self._request("get", group, resource, namespace, name, None)

    async def uids(self, group: str, resource: str, namespace: str) -> set[str]:
        """Return the uids of all objects that there are; an empty namespace means all of them."""
        found = await self._request("list", group, resource, namespace, None, None)
        # An empty list of Go's is `null`.
        return {str(item["metadata"].get("uid")) for item in found.get("items") or ()}

    async def create(self, group: str, resource: str, namespace: str, content: Object) -> Object:
        """Return the object that was made."""
        return await self._request("create", group, resource, namespace, None, content)

    async def patch(self, group: str, resource: str, namespace: str, name: str, change: Object) -> Object:
        """Return the object after a merge patch.  With `metadata.resourceVersion`: 409 if it has changed since."""
        return await self._request("patch", group, resource, namespace, name, change)

    async def delete(self, group: str, resource: str, namespace: str, name: str) -> None:
        """Delete an object; one that is not there is as good."""
        try:
            await self._request("delete", group, resource, namespace, name, None)
        except ApiError as error:
            if error.status != 404:
                raise

    async def version(self) -> tuple[int, int] | None:
        """Return major and minor version of Kubernetes, None where the API server does not say."""
        try:
            info = self._login()
            async with self._opened(info).get(
                info.server.rstrip("/") + "/version", headers=info.as_http_headers()
            ) as answer:
                found = await answer.json(content_type=None)
            # Some distributions say "28+".
            return int(found["major"]), int(found["minor"].rstrip("+"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()

    async def _request(
        self, verb: str, group: str, resource: str, namespace: str, name: str | None, content: Object | None
    ) -> Object:
        assert (group, resource, verb) in PERMISSIONS, f"{verb} {resource}: not in controller/permissions.py"
        if verb in CHANGING and resource != "leases" and not self.may_write():
            raise ApiError(0, f"{verb} {resource} {name or ''}: not sent: the Lease may be another controller's by now")
        plural, _, below = resource.partition("/")
        within = f"/namespaces/{namespace}" if namespace else ""
        path = f"{_ROOTS[group]}{within}/{plural}" + (f"/{name}" if name else "")
        path += f"/{below}" if below else ""
        status = 0
        try:
            # Read anew each time: a service account's token expires and is renewed in its file.
            info = self._login()
            headers = {**info.as_http_headers(), "User-Agent": USER_AGENT}
            if verb == "patch":
                headers["Content-Type"] = MERGE_PATCH
            if verb == "list":
                headers["Accept"] = METADATA_ONLY
            session = self._opened(info)
            async with session.request(
                _METHODS[verb], info.server.rstrip("/") + path, json=content, headers=headers
            ) as answer:
                status = answer.status
                found = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, kopf.LoginError) as error:
            raise ApiError(
                0, f"{verb} {resource} {name or ''}: the API server: {error or type(error).__name__}"
            ) from error
        finally:
            self._metrics.api_requests.labels(verb, resource, str(status)).inc()
        if status >= 400 or not isinstance(found, dict):
            said = found.get("message") if isinstance(found, dict) else None
            raise ApiError(status, f"{verb} {resource} {namespace}/{name or ''}: {status} {said or ''}")
        return found

    def _opened(self, info: kopf.ConnectionInfo) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=info.as_ssl_context())
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(TIMEOUT_S))
        return self._session
