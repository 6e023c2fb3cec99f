"""The engine `http`: the application hands its state out and takes it back, by GET and PUT of one path.

The state is a stream of bytes of any content type; what the fields Content-Type and Content-Encoding say is given back
with it.  Each goes over a connection of its own, and neither is an event: nobody but the target gets to see them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs
from yarl import URL

from interceptor.address import HttpsAddress, TargetAddress, UnixAddress
from interceptor.checkpoint.artefacts import Draft
from interceptor.checkpoint.blackout import Blackout
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.engine import Captured, EngineContext, Finish
from interceptor.checkpoint.errors import (
    ArtefactDamagedError,
    CheckpointError,
    EngineUnusableError,
    RestoreFailedError,
    RestoreRefusedError,
)
from interceptor.checkpoint.sealing import PIECE_BYTES, ArtefactWriter
from interceptor.errors import TargetLostError
from storage_backends.backend import Fact

READ_BUFFER_BYTES = 4 * PIECE_BYTES

# A server that answers so has not looked at what it was given (RFC 9110 §15.5 and §15.6.2): it is as empty as before.
_UNTOUCHED = frozenset({404, 405, 411, 413, 415, 501})
_KEPT_FIELDS = {"content_type": hdrs.CONTENT_TYPE, "content_encoding": hdrs.CONTENT_ENCODING}


def open_http_engine(context: EngineContext) -> HttpEngine:
    """Return it."""
    return HttpEngine(context)


class HttpEngine:
    """Implements CheckpointEngine."""

    name = "http"
    holds_state = True
    starts_target = False
    needs_connections_closed = False

    def __init__(self, context: EngineContext) -> None:
        self._target = context.target
        self._path = context.options.path
        self._limits = context.limits
        self._artefacts = context.artefacts
        self._counters = context.counters

    async def probe(self) -> None:
        """Check the path; whether the application knows it is seen at the first checkpoint."""
        if self._path is None:
            raise EngineUnusableError("--checkpoint-engine http: name the state, as in --checkpoint-path /state")
        if not self._path.startswith("/"):
            raise EngineUnusableError(f"--checkpoint-path {self._path}: a path begins with /")

    def prepared(self, draft: Draft) -> AbstractAsyncContextManager[None]:
        """Nothing can be done before."""
        return nullcontext()

    async def checkpoint(self, draft: Draft, blackout: Blackout) -> Finish:
        """GET the state into the draft.  Raises CheckpointError and OSError."""
        writer = await asyncio.to_thread(self._artefacts.writer, draft)
        try:
            detail = await self._get(writer)
        except BaseException:
            writer.close()
            raise

        async def finish() -> Captured:
            await asyncio.to_thread(writer.finish)
            return Captured(detail=detail)

        return finish

    async def restore(self, checkpoint: Checkpoint, target: TargetAddress) -> None:
        """PUT the stored bytes."""
        where = f"PUT {self._path} at {target}"
        headers = {
            field: str(checkpoint.detail[name]) for name, field in _KEPT_FIELDS.items() if checkpoint.detail.get(name)
        }
        headers[hdrs.CONTENT_LENGTH] = str(checkpoint.detail["content_bytes"])
        try:
            async with asyncio.timeout(self._limits.restore_timeout_s), self._session(target) as session:
                url = _url(target, self._path)
                async with session.put(
                    url, data=self._stored(checkpoint), headers=headers, allow_redirects=False,
                    server_hostname=_server_name(target),
                ) as response:  # fmt: skip
                    if response.status in _UNTOUCHED:
                        raise RestoreRefusedError(f"{where} was answered {_status(response)}")
                    if not 200 <= response.status < 300:
                        raise RestoreFailedError(f"{where} was answered {_status(response)}")
                    await response.read()
        except TimeoutError:
            self._counters.limits_reached["restore_timeout_s"] += 1
            raise RestoreFailedError(f"{where} took longer than {self._limits.restore_timeout_s:g} s") from None
        except ArtefactDamagedError as error:
            raise RestoreFailedError(f"{where} was broken off: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TargetLostError(f"{where} failed: {error or type(error).__name__}") from error

    async def discard(self, checkpoint: Checkpoint) -> None:
        """Everything is in the artefact."""

    async def close(self) -> None:
        """Nothing is held."""

    def describe(self) -> dict[str, Fact]:
        return {"path": self._path, "encrypted": self._artefacts.encrypts}

    async def _get(self, writer: ArtefactWriter) -> dict[str, Fact]:
        where = f"GET {self._path} at {self._target}"
        try:
            async with self._session(self._target) as session:
                url = _url(self._target, self._path)
                async with session.get(
                    url, headers={hdrs.ACCEPT_ENCODING: "identity"}, allow_redirects=False,
                    server_hostname=_server_name(self._target),
                ) as response:  # fmt: skip
                    if response.status != HTTPStatus.OK:
                        raise CheckpointError(f"{where} was answered {_status(response)} instead of 200")
                    if response.content_length is None and hdrs.TRANSFER_ENCODING not in response.headers:
                        raise CheckpointError(f"{where}: the answer does not say where it ends, so it can't be trusted")
                    size_bytes = await self._copy(response, writer, where)
                    fields = {name: response.headers.get(field) for name, field in _KEPT_FIELDS.items()}
        except (aiohttp.ClientError, ConnectionError) as error:
            raise CheckpointError(f"{where} failed: {error or type(error).__name__}") from error
        return {**fields, "content_bytes": size_bytes, "sealed": self._artefacts.encrypts}

    async def _copy(self, response: aiohttp.ClientResponse, writer: ArtefactWriter, where: str) -> int:
        size_bytes = response.content_length or 0
        self._check_size(size_bytes, where)
        size_bytes = 0
        # With this buffer the pieces are megabytes: a thread for each costs little.
        async for piece in response.content.iter_any():
            size_bytes += len(piece)
            self._check_size(size_bytes, where)
            await asyncio.to_thread(writer.write, piece)
        return size_bytes

    def _check_size(self, size_bytes: int, where: str) -> None:
        if size_bytes > self._limits.checkpoint_bytes_max:
            self._counters.limits_reached["checkpoint_bytes_max"] += 1
            raise CheckpointError(
                f"{where}: the state has more than {self._limits.checkpoint_bytes_max} bytes (checkpoint_bytes_max)"
            )

    async def _stored(self, checkpoint: Checkpoint) -> AsyncIterator[bytes]:
        pieces = self._artefacts.pieces(checkpoint, sealed=checkpoint.detail.get("sealed") is True)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    def _session(self, target: TargetAddress) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector
        if isinstance(target, UnixAddress):
            connector = aiohttp.UnixConnector(target.path)
        elif isinstance(target, HttpsAddress):
            connector = aiohttp.TCPConnector(ssl=target.tls.context)
        else:
            connector = aiohttp.TCPConnector()
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_timeout_s),
        )


def _url(target: TargetAddress, path: str | None) -> URL:
    scheme = "https" if isinstance(target, HttpsAddress) else "http"
    return URL(f"{scheme}://{target.authority}{path}", encoded=True)


def _server_name(target: TargetAddress) -> str | None:
    return target.tls.server_name if isinstance(target, HttpsAddress) else None


def _status(response: aiohttp.ClientResponse) -> str:
    return f"{response.status} {response.reason or ''}".rstrip()
