"""A sidecar's admin endpoints (docs/operating.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp

from controller.errors import AdminError
from controller.metrics import Metrics

CONNECT_TIMEOUT_S = 5.0
# A drain (drain_timeout_s) and the state's description are over by then.
ANSWER_TIMEOUT_S = 60.0
# Giving a checkpoint back and replaying a long log, or taking and storing a checkpoint.
LONG_TIMEOUT_S = 3600.0
# What is looked at of `GET /state`.
STATE = frozenset({"state", "holds", "problem", "target", "last_recovery", "last_checkpoint", "checkpoints"})


class Admin:
    """One sidecar at `url`.  Raises AdminError."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, token: str, metrics: Metrics, may_write: Callable[[], bool]
    ) -> None:
        self._session = session
        self._url = url
        self._token = token
        self._metrics = metrics
        self._may_write = may_write

    async def state(self) -> dict[str, Any]:
        """Return what `GET /state` shows."""
        return self._a_state("GET", await self._ask("GET", "/state", ANSWER_TIMEOUT_S))

    async def hold(self, by: str) -> None:
        """Return once nothing is in flight."""
        await self._ask("POST", "/state", ANSWER_TIMEOUT_S, state="Waiting", by=by)

    async def let_pass(self, by: str) -> dict[str, Any]:
        """Take back that hold; returns the state."""
        return self._a_state("POST", await self._ask("POST", "/state", ANSWER_TIMEOUT_S, state="Active", by=by))

    async def reproject(self, first_version: int | None) -> dict[str, Any]:
        """Return once the target is in step."""
        given = {} if first_version is None else {"from": str(first_version)}
        return dict(await self._ask("POST", "/reproject", LONG_TIMEOUT_S, **given))

    async def take_checkpoint(self) -> dict[str, Any]:
        """Return the catalogue's new entry."""
        return dict(await self._ask("POST", "/checkpoint", LONG_TIMEOUT_S))

    async def checkpoints(self) -> list[dict[str, Any]]:
        """Return the catalogue, oldest first."""
        return list(await self._ask("GET", "/checkpoint", ANSWER_TIMEOUT_S))

    async def remove_checkpoint(self, checkpoint_id: str) -> None:
        """Remove one from the catalogue."""
        await self._ask("DELETE", "/checkpoint", LONG_TIMEOUT_S, id=checkpoint_id)

    def _a_state(self, method: str, found: Any) -> dict[str, Any]:
        if not isinstance(found, dict) or not found.keys() >= STATE:
            raise AdminError(
                200, f"{method} /state of the sidecar at {self._url}: no state. Is it a sidecar of this version, or "
                "does the application listen on that port?",
            )  # fmt: skip
        return found

    async def _ask(self, method: str, path: str, timeout_s: float, **query: str) -> Any:
        if method != "GET" and not self._may_write():
            raise AdminError(0, f"{method} {path}: not sent: the Lease may be another controller's by now")
        status = 0
        timeout = aiohttp.ClientTimeout(timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            async with self._session.request(
                method, self._url + path, params=query, headers=headers, timeout=timeout
            ) as answer:
                status = answer.status
                found = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            said = str(error) or type(error).__name__
            raise AdminError(0, f"{method} {path} of the sidecar at {self._url}: {said}") from error
        finally:
            self._metrics.admin_requests.labels(path, str(status)).inc()
        if status >= 400:
            detail = found.get("detail", "") if isinstance(found, dict) else ""
            raise AdminError(status, f"{method} {path} of the sidecar at {self._url}: {status} {detail}")
        return found
