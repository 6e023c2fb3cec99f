"""The application for ASGI servers (uvicorn)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from bench.chaos.target.application import Application
from bench.chaos.target.control import Control, after, before

Message = dict[str, Any]


def make_app() -> Callable[..., Awaitable[None]]:
    """Return one incarnation."""
    control = Control.from_environment()
    control.begin()
    application = Application(control.warm_up_s)

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        query = scope["query_string"].decode()
        order = control.order() if "op=" in query else None
        before(order)
        status, content = application.answer(scope["method"], f"{scope['path']}?{query}", body)
        after(order)
        length = str(len(content)).encode()
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": content})

    return app
