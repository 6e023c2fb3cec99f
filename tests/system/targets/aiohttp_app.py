"""The pages under aiohttp's server."""

from __future__ import annotations

import sys

from aiohttp import web
from pages import page


async def answer(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
    reply = page(request.method, request.path, request.raw_path, fields, body)
    response = web.StreamResponse(status=reply.status)
    for name, value in reply.fields:
        response.headers.add(name, value)
    if reply.length is not None and reply.status not in (204, 304):
        response.content_length = reply.length
    await response.prepare(request)
    for piece in reply.pieces if request.method != "HEAD" else []:
        await response.write(piece)
    await response.write_eof()
    return response


if __name__ == "__main__":
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", answer)
    web.run_app(application, host=sys.argv[1], port=int(sys.argv[2]), print=None)
