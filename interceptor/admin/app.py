"""The admin endpoints (aiohttp): thin functions over the ambassador, JSON out, errors as problem details (RFC 9457)."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import hdrs, web

from interceptor.address import TargetAddress, parse_target
from interceptor.admin.checkpoints import add_checkpoint_routes
from interceptor.admin.compat import add_compat_routes, prototype_statuses
from interceptor.admin.guard import bearer_guard, site_guard
from interceptor.admin.metrics import CONTENT_TYPE, render_metrics
from interceptor.admin.problems import problem
from interceptor.ambassador import Ambassador
from interceptor.checkpoint.errors import ArtefactDamagedError, CheckpointError, NoSuchCheckpointError
from interceptor.control import Control
from interceptor.errors import (
    ConfigurationError,
    DrainTimeoutError,
    InterceptorError,
    NotPossibleNowError,
    TargetLostError,
)
from interceptor.projector import Progress
from interceptor.state_document import state_document
from interceptor.states import State
from storage_backends.errors import LogError

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NDJSON = "application/x-ndjson"
# The prototype's words for the two states are accepted.
STATE_NAMES = {"active": "Active", "proxying": "Active", "waiting": "Waiting", "caching": "Waiting"}
# A version fits into 64 bits, and Python refuses to read very long numbers by an exception of its own.
VERSION_DIGITS_MAX = 19
# Whose hold it is, as `holds` in /state shows it; each takes back its own.
HOLDERS = ("operator", "controller")

_STATUS_OF_ERROR: tuple[tuple[type[Exception], int], ...] = (
    (ConfigurationError, 400),
    (NoSuchCheckpointError, 404),
    (CheckpointError, 409),
    (ArtefactDamagedError, 409),
    (NotPossibleNowError, 409),
    (DrainTimeoutError, 504),
    (TargetLostError, 502),
    (LogError, 500),
    (InterceptorError, 500),
)


def make_app(ambassador: Ambassador) -> web.Application:
    """Return the application; a bearer token is asked for where one is configured."""
    token = ambassador.settings.admin_token
    app = web.Application(middlewares=[_problems, site_guard(has_token=token is not None), bearer_guard(token)])
    if ambassador.settings.compat:
        app.middlewares.append(prototype_statuses)
    endpoints = _Endpoints(ambassador)
    app.router.add_get("/state", endpoints.get_state)
    app.router.add_post("/state", endpoints.post_state)
    add_checkpoint_routes(app, ambassador)
    app.router.add_post("/unquarantine", endpoints.post_unquarantine)
    app.router.add_post("/reproject", endpoints.post_reproject)
    if ambassador.settings.compat:
        add_compat_routes(app, endpoints.post_reproject)
    app.router.add_get("/metrics", endpoints.get_metrics)
    app.router.add_get("/healthz", endpoints.get_healthz)
    app.router.add_get("/readyz", endpoints.get_readyz)
    return app


class _Endpoints:
    def __init__(self, ambassador: Ambassador) -> None:
        self._ambassador = ambassador
        self._control = Control(ambassador)

    async def get_state(self, request: web.Request) -> web.Response:
        return web.json_response(state_document(self._ambassador))

    async def post_state(self, request: web.Request) -> web.Response:
        wanted = STATE_NAMES.get(request.query.get("state", "").lower())
        if wanted is None:
            raise ConfigurationError("state= must be Active or Waiting (or the prototype's Proxying or Caching)")
        by = request.query.get("by", HOLDERS[0])
        if by not in HOLDERS:
            raise ConfigurationError(f"by={by[:40]}: expected {' or '.join(HOLDERS)}")
        if wanted == "Waiting":
            await self._control.set_waiting(by)
        elif by == "controller":
            self._control.end_hold(by)
        else:
            await self._control.set_active()
        return web.json_response(state_document(self._ambassador))

    async def post_unquarantine(self, request: web.Request) -> web.Response:
        version = _version(request, "version")
        if version is None:
            raise ConfigurationError("version= names the event to take out of quarantine")
        return web.json_response(self._control.unquarantine(version))

    async def post_reproject(self, request: web.Request) -> web.StreamResponse:
        from_version, to_version = _version(request, "from"), _version(request, "to")
        target, from_checkpoint = request.query.get("target"), request.query.get("from_checkpoint")
        if target is not None:
            projection = await self._control.reproject_into(
                self._target(target), from_version, to_version, from_checkpoint
            )
            return await self._report(request, projection)
        if from_checkpoint is not None:
            raise ConfigurationError("from_checkpoint= goes with target=: the live target gets the newest anyway")
        if to_version is not None:
            raise ConfigurationError("to= goes with target=: the live target is always brought up to the last event")
        return web.json_response(await self._control.reproject(from_version))

    def _target(self, url: str) -> TargetAddress:
        return parse_target(url, self._ambassador.settings.target_tls)

    async def _report(self, request: web.Request, projection: AsyncIterator[Progress]) -> web.StreamResponse:
        """Answer when it is done, or, on request, with a line of progress several times a second."""
        if NDJSON not in request.headers.get(hdrs.ACCEPT, ""):
            last: Progress | None = None
            async for progress in projection:
                last = progress
            assert last is not None
            return web.json_response(last.as_json())
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: NDJSON})
        await response.prepare(request)
        try:
            async for progress in projection:
                done = progress.ended_s is not None
                await response.write(json.dumps({**progress.as_json(), "done": done}).encode() + b"\n")
        except (InterceptorError, LogError) as error:
            await response.write(json.dumps({"error": str(error), "done": True}).encode() + b"\n")
        # A client that has read that it is done need not wait for the end.
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    async def get_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=render_metrics(self._ambassador), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def get_healthz(self, request: web.Request) -> web.Response:
        failed = self._ambassador.machine.state is State.FAILED
        return web.json_response({"status": "failed" if failed else "ok"}, status=503 if failed else 200)

    async def get_readyz(self, request: web.Request) -> web.Response:
        ready = self._ambassador.able_to_hold
        state = self._ambassador.machine.state.public
        return web.json_response({"ready": ready, "state": state}, status=200 if ready else 503)


def _version(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > VERSION_DIGITS_MAX or int(text) < 1:
        raise ConfigurationError(f"{name}={text[:40]}: a version is a whole number from 1")
    return int(text)


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into problem details; what is not foreseen is logged with its traceback."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return problem(error.status, f"{request.method} {request.path}: {error.reason}", error.headers.get("Allow"))
    except Exception as error:
        for kind, status in _STATUS_OF_ERROR:
            if isinstance(error, kind):
                return problem(status, str(error))
        logger.exception("%s %s failed", request.method, request.path)
        return problem(500, "an error that was not foreseen; the ambassador's log shows it")
