"""Kubernetes Events, for those who look with `kubectl describe`.

An Event's name is a digest of what it says about which object, so saying it again, also by a controller that was
started again, is no second Event.  The cluster forgets Events after an hour; what is still so is then said anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any

from controller.api import Api
from controller.checkpoint import timestamp
from controller.errors import ApiError
from controller.names import MANAGER

logger = logging.getLogger(__name__)

# What was said lately is not sent again; more than this is forgotten.
REMEMBERED_MAX = 4096
# A message of the API is at most 1024 bytes long.
MESSAGE_CHARACTERS_MAX = 1000


class Events:
    """Posts them; an Event that can't be posted is logged, and nothing depends on it."""

    def __init__(self, api: Api, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._said: dict[str, None] = {}

    async def normal(self, about: dict[str, Any], reason: str, message: str, *, key: str = "") -> bool:
        """Say what has been done.  `key` tells apart what happens more than once with the same words.

        Returns whether it was not said before.
        """
        return await self._say("Normal", about, reason, message, key)

    async def warn(self, about: dict[str, Any], reason: str, message: str, *, key: str = "") -> bool:
        """Say what somebody has to look at.  Returns whether it was not said before."""
        return await self._say("Warning", about, reason, message, key)

    async def _say(self, kind: str, about: dict[str, Any], reason: str, message: str, key: str) -> bool:
        metadata = about["metadata"]
        text = message if len(message) <= MESSAGE_CHARACTERS_MAX else message[:MESSAGE_CHARACTERS_MAX] + "…"
        said = "\0".join((metadata.get("uid", ""), metadata["name"], reason, key or text))
        name = f"{metadata['name'][:200].rstrip('-.')}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"
        if name in self._said:
            return False
        now = timestamp(self._clock())
        event = {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": about["apiVersion"], "kind": about["kind"], "name": metadata["name"],
                "namespace": metadata["namespace"], "uid": metadata.get("uid", ""),
            },
            "reason": reason, "message": text, "type": kind, "source": {"component": MANAGER},
            "reportingComponent": MANAGER, "reportingInstance": MANAGER,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        }  # fmt: skip
        level = logging.INFO if kind == "Normal" else logging.WARNING
        logger.log(level, "%s %s: %s: %s", about["kind"], metadata["name"], reason, text)
        new = await self._post(metadata["namespace"], event)
        if new is not None:
            self._said[name] = None
            if len(self._said) > REMEMBERED_MAX:
                del self._said[next(iter(self._said))]
        return bool(new)

    async def _post(self, namespace: str, event: dict[str, Any]) -> bool | None:
        """Return whether it is new, None where it could not be posted."""
        try:
            await self._api.create("", "events", namespace, event)
        except ApiError as error:
            if error.status == 409:
                return False
            logger.warning("no Event %s: %s", event["reason"], error)
            return None
        return True
