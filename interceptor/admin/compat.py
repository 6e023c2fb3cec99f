"""What the prototype's controllers expect (`--admin same --compat`).

They ask `GET /reproject` on the clients' port, then `POST /state?state=Proxying`, and take any status but 200 as a
failure.  A GET that changes something is what a page of another site could send without its own script, so here it is
refused like a POST.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from interceptor.admin.guard import is_own_site
from interceptor.admin.problems import problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_compat_routes(app: web.Application, reproject: Handler) -> None:
    """Let `GET /reproject` do what `POST /reproject` does; its answer is the same."""

    async def get_reproject(request: web.Request) -> web.StreamResponse:
        if not is_own_site(request.headers):
            return problem(403, "a page of another site has sent this (Origin, Sec-Fetch-Site)")
        return await reproject(request)

    app.router.add_get("/reproject", get_reproject, allow_head=False)


@web.middleware
async def prototype_statuses(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 200 where we would answer 201."""
    response = await handler(request)
    if response.status == 201:
        response.set_status(200)
    return response
