"""An ordinary reverse proxy: aiohttp's server in front, aiohttp's client behind, a task for each request.

`python -m bench.aiohttp_proxy --port P --target-port T`. Nothing is recorded. It stands for what most people would
write, and is run as well as it can be: uvloop, pooled upstream connections, no access log.
"""

import argparse
import asyncio

import uvloop
from aiohttp import ClientSession, TCPConnector, web
from multidict import CIMultiDict, CIMultiDictProxy

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length"})
_CLIENT = web.AppKey("client", ClientSession)
BODY_BYTES_MAX = 4 * 1024 * 1024


def passed_on(fields: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The fields without those of one connection (RFC 9110 §7.6.1)."""
    return CIMultiDict((name, value) for name, value in fields.items() if name.lower() not in _HOP_BY_HOP)


async def serve(port: int, target_port: int) -> None:
    """Serve until the process ends."""
    target = f"http://127.0.0.1:{target_port}"

    async def forward(request: web.Request) -> web.Response:
        fields = passed_on(request.headers)
        fields["X-Forwarded-For"] = request.remote or ""
        fields["X-Forwarded-Proto"] = request.scheme
        fields["X-Forwarded-Host"] = request.host
        body = await request.read() if request.can_read_body else None
        async with request.app[_CLIENT].request(
            request.method, target + request.raw_path, headers=fields, data=body, allow_redirects=False
        ) as answer:
            content = await answer.read()
            return web.Response(status=answer.status, body=content, headers=passed_on(answer.headers))

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_route("*", "/{path:.*}", forward)
    async with ClientSession(connector=TCPConnector(limit=0), auto_decompress=False) as client:
        app[_CLIENT] = client
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target-port", type=int, required=True)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.target_port))
