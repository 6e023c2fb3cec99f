"""The admin's `/checkpoint`: take one, list, show, verify, pin, remove.  One path, so that it shadows no other."""

from __future__ import annotations

from aiohttp import web

from interceptor.ambassador import Ambassador
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.control import Control
from interceptor.errors import ConfigurationError


def add_checkpoint_routes(app: web.Application, ambassador: Ambassador) -> None:
    """Add GET [?id=], POST, POST ?id=&do=verify|pin|unpin and DELETE ?id=."""
    routes = _Routes(ambassador)
    app.router.add_get("/checkpoint", routes.get)
    app.router.add_post("/checkpoint", routes.post)
    app.router.add_delete("/checkpoint", routes.delete)


class _Routes:
    def __init__(self, ambassador: Ambassador) -> None:
        self._control = Control(ambassador)
        self._checkpoints = ambassador.checkpoints

    async def get(self, request: web.Request) -> web.Response:
        checkpoint_id = request.query.get("id")
        if checkpoint_id is not None:
            return _answer(self._checkpoints.catalogue.get(checkpoint_id))
        return web.json_response([entry.as_fact() for entry in self._checkpoints.catalogue.entries])

    async def post(self, request: web.Request) -> web.Response:
        action = request.query.get("do", "take")
        if action == "take":
            return _answer(await self._control.checkpoint(), status=201)
        if action == "verify":
            return _answer(await self._checkpoints.verify(_id(request)))
        if action in ("pin", "unpin"):
            return _answer(await self._checkpoints.pin(_id(request), pinned=action == "pin"))
        raise ConfigurationError(f"do={action[:40]}: expected take, verify, pin or unpin")

    async def delete(self, request: web.Request) -> web.Response:
        return _answer(await self._checkpoints.remove(_id(request)))


def _id(request: web.Request) -> str:
    checkpoint_id = request.query.get("id")
    if checkpoint_id is None:
        raise ConfigurationError("id= must name a checkpoint")
    return checkpoint_id


def _answer(entry: Checkpoint, status: int = 200) -> web.Response:
    return web.json_response(entry.as_fact(), status=status)
