"""The engine `http` before a real server: what it stores is what it gives back, and every refusal says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from interceptor.address import Address, HttpsAddress, TargetAddress, UnixAddress
from interceptor.checkpoint.artefacts import Artefacts
from interceptor.checkpoint.blackout import Blackout
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.engine import EngineContext
from interceptor.checkpoint.errors import (
    CheckpointError,
    EngineUnusableError,
    RestoreFailedError,
    RestoreRefusedError,
)
from interceptor.checkpoint.http import HttpEngine
from interceptor.checkpoint.options import CheckpointOptions
from interceptor.counters import Counters
from interceptor.errors import TargetLostError
from interceptor.limits import Limits
from interceptor.target_tls import TargetTls
from tests.certificates import Authority


class Application:
    """Holds a state; answers as it is told."""

    def __init__(self) -> None:
        self.state = b""
        self.fields: dict[str, str] = {}
        self.status = 200
        self.address: TargetAddress = Address("127.0.0.1", 0)

    async def get(self, request: web.Request) -> web.StreamResponse:
        if self.status == 0:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=self.status, body=self.state, headers=self.fields)

    async def put(self, request: web.Request) -> web.StreamResponse:
        if self.status == 0:
            assert request.transport is not None
            request.transport.abort()
        if self.status == 1:
            await asyncio.Event().wait()
        self.state = await request.read()
        self.fields = {"Content-Type": request.headers["Content-Type"]}
        assert "Transfer-Encoding" not in request.headers
        return web.Response(status=self.status)


@pytest.fixture
async def application() -> AsyncIterator[Application]:
    made = Application()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_get("/state", made.get)
    app.router.add_put("/state", made.put)
    async with TestServer(app) as server:
        assert server.port is not None
        made.address = Address("127.0.0.1", server.port)
        yield made


def engine_for(application: Application, directory: Path, path: str | None = "/state", **limits: float) -> HttpEngine:
    artefacts = Artefacts(directory / "checkpoints")
    artefacts.open(None)
    options = CheckpointOptions("http", path)
    limit = Limits(**limits)  # type: ignore[arg-type]
    return HttpEngine(EngineContext(application.address, options, limit, artefacts, Counters(), None))


async def taken(engine: HttpEngine) -> Checkpoint:
    artefacts = engine._artefacts
    draft = artefacts.draft("http-1", 3)
    captured = await (await engine.checkpoint(draft, Blackout()))()
    stored = artefacts.publish(draft)
    assert stored is not None
    return Checkpoint(
        "http-1", 3, "http", 0.0, stored.size_bytes, stored.digest, stored.name, detail=captured.detail,
        holds_state=True,
    )  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
async def test_the_state_comes_back_with_its_type(application: Application, tmp_path: Path, size: int) -> None:
    state, fields = b"\x00\xff\r\n" * (size // 4) + b"x" * (size % 4), {"Content-Type": "application/x-thing"}
    application.state, application.fields = state, fields
    engine = engine_for(application, tmp_path)
    checkpoint = await taken(engine)
    application.state, application.fields = b"", {}
    await engine.restore(checkpoint, application.address)
    assert application.state == state
    assert application.fields == fields


async def test_compressed_content_stays_as_it_is(application: Application, tmp_path: Path) -> None:
    """RFC 9110 §8.4: the coding is a property of the representation, and it is given back with it."""
    application.fields = {"Content-Type": "application/json", "Content-Encoding": "x-own"}
    application.state = b"packed"
    engine = engine_for(application, tmp_path)
    checkpoint = await taken(engine)
    assert checkpoint.detail["content_encoding"] == "x-own"


async def test_a_target_behind_a_unix_socket(tmp_path: Path) -> None:
    application = Application()
    application.state = b"here"
    app = web.Application()
    app.router.add_get("/state", application.get)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    application.address = UnixAddress(str(tmp_path / "s"))
    checkpoint = await taken(engine_for(application, tmp_path))
    assert checkpoint.size_bytes == 4
    await runner.cleanup()


async def test_an_https_target_whose_certificate_has_another_name(application: Application, tmp_path: Path) -> None:
    """RFC 9110 §4.3.4: --target-ca-file and --target-server-name hold for the state as for every request."""
    authority = Authority(tmp_path)
    app = web.Application()
    app.router.add_get("/state", application.get)
    app.router.add_put("/state", application.put)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context("app.internal"))
    await site.start()
    port = runner.addresses[0][1]
    own, none, other = (
        HttpsAddress("127.0.0.1", port, TargetTls(authority.ca_file, name))
        for name in ("app.internal", None, "other.internal")
    )
    application.address, application.state, application.fields = own, b"here", {"Content-Type": "application/x-thing"}
    engine = engine_for(application, tmp_path)
    checkpoint = await taken(engine)
    application.state = b""
    await engine.restore(checkpoint, own)
    assert application.state == b"here"
    with pytest.raises(TargetLostError, match="CERTIFICATE_VERIFY_FAILED"):
        await engine.restore(checkpoint, none)
    application.address = other
    with pytest.raises(CheckpointError, match="CERTIFICATE_VERIFY_FAILED"):
        await taken(engine_for(application, tmp_path / "other"))
    await runner.cleanup()


@pytest.mark.parametrize(("status", "word"), [(404, "404"), (500, "500"), (204, "204"), (0, "failed")])
async def test_a_get_that_is_not_answered_with_a_state_takes_no_checkpoint(
    application: Application, tmp_path: Path, status: int, word: str
) -> None:
    application.status = status
    with pytest.raises(CheckpointError, match=word):
        await taken(engine_for(application, tmp_path))


async def test_an_answer_that_may_have_been_cut_off_takes_no_checkpoint(
    application: Application, tmp_path: Path
) -> None:
    """Ended by the end of the connection (RFC 9112 §6.3, 8), a part looks like the whole."""
    server = await asyncio.start_server(_old_server, "127.0.0.1", 0)
    application.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    with pytest.raises(CheckpointError, match="where it ends"):
        await taken(engine_for(application, tmp_path))
    server.close()


async def _old_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    writer.close()


async def test_a_state_beyond_the_limit_is_given_up(application: Application, tmp_path: Path) -> None:
    application.state = b"x" * 1001
    engine = engine_for(application, tmp_path, checkpoint_bytes_max=1000)
    with pytest.raises(CheckpointError, match="checkpoint_bytes_max"):
        await taken(engine)
    assert engine._counters.limits_reached["checkpoint_bytes_max"] == 1


async def test_what_the_target_refuses_unread_leaves_it_empty_and_else_it_is_unknown(
    application: Application, tmp_path: Path
) -> None:
    engine = engine_for(application, tmp_path, restore_timeout_s=0.2)
    application.state = b"x"
    checkpoint = await taken(engine)
    for status in (404, 405, 413, 501):
        application.status = status
        with pytest.raises(RestoreRefusedError, match=str(status)):
            await engine.restore(checkpoint, application.address)
    for status in (301, 400, 409, 500):
        application.status = status
        with pytest.raises(RestoreFailedError, match=str(status)):
            await engine.restore(checkpoint, application.address)
    application.status = 0
    with pytest.raises(TargetLostError, match="PUT /state"):
        await engine.restore(checkpoint, application.address)
    application.status = 1
    with pytest.raises(RestoreFailedError, match="longer than"):
        await engine.restore(checkpoint, application.address)
    application.status = 200
    engine._artefacts.remove("http-1")
    with pytest.raises((RestoreFailedError, TargetLostError)):
        await engine.restore(replace(checkpoint), application.address)


@pytest.mark.parametrize("path", [None, "state"])
async def test_a_path_is_needed(application: Application, tmp_path: Path, path: str | None) -> None:
    with pytest.raises(EngineUnusableError, match="--checkpoint-path"):
        await engine_for(application, tmp_path, path).probe()
