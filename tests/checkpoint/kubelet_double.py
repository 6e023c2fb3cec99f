"""The kubelet's checkpoint endpoint over TLS, as kubelet 1.36 answers; what checkpoints is behind `runtime`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

TOKEN = "known-and-allowed"
FORBIDDEN_TOKEN = "known"


class RuntimeRefusesError(Exception):
    """What the container runtime says; the kubelet passes it on."""


class KubeletDouble:
    """`runtime(container, timeout_s)` returns the archive's path; it runs in a thread."""

    def __init__(self, runtime: Callable[[str, int], str]) -> None:
        self.runtime = runtime
        self.containers = {"default/one/app"}
        self.checkpoints_enabled = True
        self.calls: list[str] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Authentication, authorisation, the route, the Pod, the runtime: in the kubelet's order."""
        container = request.path.removeprefix("/checkpoint/")
        self.calls.append(container)
        transport = request.transport
        assert transport is not None
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (TOKEN, FORBIDDEN_TOKEN) and not transport.get_extra_info("peercert"):
            return web.Response(status=401, text="Unauthorized")
        if token == FORBIDDEN_TOKEN:
            return web.Response(
                status=403,
                text='Forbidden (user=system:serviceaccount:default:one, verb=create, resource=nodes, '
                "subresource(s)=[checkpoint])",
            )  # fmt: skip
        if not self.checkpoints_enabled or request.method != "POST":
            return web.Response(status=404, text="404: Page Not Found")
        if container not in self.containers:
            return web.Response(status=404, text="pod does not exist")
        try:
            path = await asyncio.to_thread(self.runtime, container, int(request.query.get("timeout", "0")))
        except RuntimeRefusesError as error:
            return web.Response(
                status=500,
                text=f"checkpointing of {container} failed (rpc error: code = Unknown desc = {error})",
            )
        return web.json_response({"items": [path]})


@asynccontextmanager
async def running_kubelet(
    double: KubeletDouble, context: ssl.SSLContext, host: str = "127.0.0.1"
) -> AsyncIterator[KubeletDouble]:
    """Serve it; its port is in `double.port`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", double.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=context)
    await site.start()
    double.port = runner.addresses[0][1]
    try:
        yield double
    finally:
        await runner.cleanup()
