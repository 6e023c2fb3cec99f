"""The pages under ASGI, with a WebSocket echo, an endless stream and a page that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pages import page

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

waiting: set[asyncio.Future[str]] = set()
seen_disconnects: list[str] = []


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    elif scope["path"] == "/poll":
        await poll(receive, send)
    elif scope["path"] == "/publish":
        await publish(receive, send)
    elif scope["path"] == "/waiting":
        await text(send, str(len(waiting)))
    elif scope["path"] == "/disconnects":
        await text(send, ",".join(seen_disconnects))
    elif scope["path"] == "/ignore":
        await text(send, "not read", 403)
    else:
        await answer(scope, receive, send)


async def answer(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    body = []
    while True:
        message = await receive()
        body.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    query = scope["query_string"]
    target = scope["raw_path"].decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    reply = page(scope["method"], scope["path"], target, fields, b"".join(body))
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.fields]
    if reply.length is not None and reply.status not in (204, 304):
        headers.append((b"content-length", b"%d" % reply.length))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    for piece in reply.pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def text(send: Send, content: str, status: int = 200) -> None:
    body = content.encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def poll(receive: Receive, send: Send) -> None:
    """Wait for what is published; note it if the client leaves first."""
    await receive()
    published: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    waiting.add(published)
    gone = asyncio.ensure_future(receive())
    await asyncio.wait({published, gone}, return_when=asyncio.FIRST_COMPLETED)
    waiting.discard(published)
    if published.done():
        gone.cancel()
        await text(send, published.result())
    else:
        seen_disconnects.append("poll")


async def publish(receive: Receive, send: Send) -> None:
    message = await receive()
    for each in waiting:
        each.set_result(message["body"].decode())
    await text(send, str(len(waiting)))


async def websocket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    subprotocols = scope.get("subprotocols") or [None]
    await send({"type": "websocket.accept", "subprotocol": subprotocols[0]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            seen_disconnects.append(str(message.get("code")))
            return
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "as asked"})
            return
        reply = {key: message[key] for key in ("text", "bytes") if message.get(key) is not None}
        await send({"type": "websocket.send", **reply})
