"""Checkpoints beside a log in PostgreSQL: the catalogue is in the database, the artefacts are in a directory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from counting import Clients, applied, counter_command
from support import Processes, Server
from test_checkpoints import HTTP, ask, start_interceptor_process

from bench.processes import free_port
from tests.storage_backends.test_postgres_server import Server as Database
from tests.storage_backends.test_postgres_server import server  # noqa: F401


async def test_a_killed_interceptor_finds_its_checkpoint_and_the_trimmed_log(
    server: Database,  # noqa: F811
    processes: Processes,
    tmp_path: Path,
) -> None:
    """What the catalogue speaks of is in the database before the log is trimmed behind it, and survives `kill -9`."""
    target = Server("127.0.0.1", free_port())
    options = ("--log", server.url("checkpointed"), *HTTP, "--checkpoint-dir", str(tmp_path / "checkpoints"),
               "--retain", "checkpoints:1", "--", *counter_command(target.port))  # fmt: skip
    first = start_interceptor_process(processes, target, *options)
    clients = Clients(first, 5)
    await clients.acknowledged(100)
    taken = await asyncio.to_thread(ask, first, "POST", "/checkpoint")
    await clients.acknowledged(20)
    seen = await clients.finish()
    owner = (tmp_path / "checkpoints" / "OWNER").read_text()  # never with a password: see LogBackend.url
    assert "log_name=checkpointed" in owner
    assert first.process is not None
    first.process.kill()
    await asyncio.to_thread(first.process.wait)

    second = start_interceptor_process(processes, target, *options)
    assert ask(second, "GET", "/checkpoint")[0]["id"] == taken["id"]
    state = second.state()
    assert state["versions"]["first"] == taken["version"] + 1
    assert state["last_recovery"]["from"] == taken["version"] + 1
    assert sorted(applied(target)) == sorted(seen.acknowledged)
