"""One GET over a connection of its own: for what we ask the target ourselves, which is no event."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from interceptor.address import Target
from interceptor.wire.answer import AnswerReader
from interceptor.wire.errors import AnswerError

_HEAD_BYTES_MAX = 65_536


class NoAnswerError(Exception):
    """There is no connection, or no answer that can be read; the text says which."""


async def open_stream(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect.  Raises OSError."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await target.connect(lambda: protocol)
    loop = asyncio.get_running_loop()
    return reader, asyncio.StreamWriter(cast(asyncio.WriteTransport, transport), protocol, reader, loop)


async def get_content(target: Target, path: str, content_bytes_max: int) -> tuple[int, bytes]:
    """Return status and content, once it has come to its end.  Raises NoAnswerError; the time is the caller's."""
    try:
        reader, writer = await open_stream(target)
    except OSError as error:
        raise NoAnswerError(f"no connection ({error})") from error
    try:
        # uvloop raises RuntimeError for a write to what is closed.
        if not writer.transport.is_closing():
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode("ascii")
            )
        return await _read(reader, content_bytes_max)
    except (OSError, AnswerError) as error:
        raise NoAnswerError(str(error) or type(error).__name__) from error
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, content_bytes_max: int) -> tuple[int, bytes]:
    answers = AnswerReader(_HEAD_BYTES_MAX)
    status, content = 0, b""
    while True:
        data = await reader.read(_HEAD_BYTES_MAX)
        answers.feed(data)
        while status < 200 and (answer := answers.read_head(to_head_request=False)) is not None:
            status = answer.status
        if status >= 200:
            content += answers.read_piece()
            if len(content) > content_bytes_max:
                raise NoAnswerError(f"its content has more than {content_bytes_max} bytes")
            if answers.complete or (not data and answers.end_of_stream()):
                return status, content
        if not data:
            raise NoAnswerError("the connection was closed before the answer's end")
