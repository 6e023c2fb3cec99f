"""Checkpoints with a real application that hands its state out and takes it back: exact, and nobody sees an error."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from counting import Clients, applied, apply, counter_command, digest_of, start_counter
from faulty_disk import SmallDisk, mounted_disk
from support import PYTHON, ROOT, Processes, RunningInterceptor, Server, start_interceptor_process, wait_until

from bench.processes import free_port

StartInterceptor = Callable[..., RunningInterceptor]

HTTP = ("--checkpoint-engine", "http", "--checkpoint-path", "/snapshot")


def ask(interceptor: RunningInterceptor, method: str, path: str) -> Any:
    """Ask the admin."""
    request = urllib.request.Request(f"{interceptor.admin_url}{path}", method=method)
    with urllib.request.urlopen(request, timeout=60.0) as answer:
        return json.load(answer)


def command_line(interceptor: RunningInterceptor, *words: str) -> str:
    """Run `interceptor checkpoint …` and return what it says."""
    assert interceptor.admin is not None
    return subprocess.run(
        [PYTHON, "-m", "interceptor", "checkpoint", *words, "--admin", interceptor.admin.authority],
        check=True, capture_output=True, text=True, cwd=ROOT, timeout=60.0,
    ).stdout  # fmt: skip


async def kill(target: Server) -> None:
    assert target.process is not None
    target.process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(target.process.wait)


@pytest.fixture
def check_exact(processes: Processes) -> Callable[[Server], None]:
    """The target's state is that of one which got the same operations without ever dying."""

    def check(target: Server) -> None:
        undisturbed = start_counter(processes)
        apply(undisturbed, applied(target))
        assert digest_of(target) == digest_of(undisturbed)

    return check


async def test_checkpoints_under_load_with_kills(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path, check_exact: Callable[[Server], None]
) -> None:
    """Rule 4: after each kill the state is the checkpoint's and the tail's, and every request is answered with 200."""
    chance = random.Random(11)
    target = start_counter(processes)
    interceptor = start_interceptor(
        target, "--log", f"file://{tmp_path}/log", *HTTP, "--checkpoint-interval", "0.1", "--retain", "checkpoints:2",
        "--segment-bytes-max", "20000",
    )  # fmt: skip
    clients = Clients(interceptor, 10)
    replayed = []
    for _ in range(6):
        await clients.acknowledged(chance.randrange(50, 150))
        taken = (await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint"))["version"]
        await clients.acknowledged(chance.randrange(1, 50))
        await kill(target)
        target = await asyncio.to_thread(start_counter, processes, target.port)
        await clients.acknowledged(10)
        recovery = (await asyncio.to_thread(interceptor.state))["last_recovery"]
        assert recovery["from"] > taken
        replayed.append(recovery["events"])
    seen = await clients.finish()
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], [])
    assert sorted(applied(target)) == sorted(seen.acknowledged)
    state = interceptor.state()
    assert state["last_recovery"]["divergences"] == 0
    assert max(replayed) < state["versions"]["last"] / 2
    assert state["versions"]["first"] > 1, "the log was trimmed"
    check_exact(target)


async def test_state_and_log_survive_a_planned_restart_that_replays_nothing(
    processes: Processes, tmp_path: Path
) -> None:
    """--checkpoint-on-stop, and encryption at rest: no byte of the state is readable in the directory."""
    keys = tmp_path / "keys"
    line = await asyncio.to_thread(
        subprocess.run,
        [PYTHON, "-m", "interceptor", "log", "new-key", "k1"],
        check=True,
        capture_output=True,
        cwd=ROOT,
        timeout=60.0,
    )
    keys.touch(0o600)
    keys.write_bytes(line.stdout)
    target = Server("127.0.0.1", free_port())
    options = ("--log", f"file://{tmp_path}/log", "--log-key-file", str(keys), *HTTP, "--checkpoint-on-stop", "--",
               *counter_command(target.port))  # fmt: skip
    first = start_interceptor_process(processes, target, *options)
    clients = Clients(first, 5)
    await clients.acknowledged(100)
    seen = await clients.finish()
    before = digest_of(target)
    assert first.process is not None
    first.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.process.wait, 30.0) == 0
    stored = (tmp_path / "log" / "checkpoints" / "http-1").read_bytes()
    assert b"client" not in stored
    assert len(stored) > 100

    second = start_interceptor_process(processes, target, *options)
    state = second.state()
    assert state["last_recovery"]["events"] == 0
    assert digest_of(target) == before
    assert sorted(applied(target)) == sorted(seen.acknowledged)


async def test_a_damaged_artefact_is_skipped_and_the_one_before_it_used(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path, check_exact: Callable[[Server], None]
) -> None:
    """Rule 8, down to the replay from version 1."""
    target = start_counter(processes)
    interceptor = start_interceptor(target, "--log", f"file://{tmp_path}/log", *HTTP)
    clients = Clients(interceptor, 2)
    for _ in range(3):
        await clients.acknowledged(20)
        await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint")
    await clients.acknowledged(20)
    await clients.finish()
    entries = ask(interceptor, "GET", "/checkpoint")
    directory = tmp_path / "log" / "checkpoints"
    (directory / "http-3").unlink()
    damaged = bytearray((directory / "http-2").read_bytes())
    damaged[10] ^= 1
    (directory / "http-2").write_bytes(damaged)
    await kill(target)
    target = start_counter(processes, target.port)
    wait_until(interceptor.is_active, "Active")
    assert interceptor.state()["last_recovery"]["from"] == entries[0]["version"] + 1
    check_exact(target)

    assert "http-1" in command_line(interceptor, "verify", "http-1")
    (directory / "http-1").unlink()
    await kill(target)
    target = start_counter(processes, target.port)
    wait_until(interceptor.is_active, "Active")
    assert interceptor.state()["last_recovery"]["from"] == 1
    check_exact(target)


async def test_a_copy_and_the_live_target_begin_where_the_operator_says(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path
) -> None:
    target = Server("127.0.0.1", free_port())
    interceptor = start_interceptor(
        target, "--log", f"file://{tmp_path}/log", *HTTP, "--", *counter_command(target.port)
    )
    clients = Clients(interceptor, 2)
    await clients.acknowledged(30)
    taken = await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint")
    await clients.acknowledged(30)
    await clients.finish()
    copy = start_counter(processes)
    done = ask(interceptor, "POST", f"/reproject?target={copy.url}&from_checkpoint=http-1")
    assert done["from"] == taken["version"] + 1
    assert digest_of(copy) == digest_of(target)
    older = start_counter(processes)
    done = ask(interceptor, "POST", f"/reproject?target={older.url}&from_checkpoint=http-1&to={taken['version']}")
    assert done["events"] == 0
    assert len(applied(older)) == taken["version"]

    done = ask(interceptor, "POST", f"/reproject?from={taken['version'] + 1}")
    assert done["from"] == taken["version"] + 1
    assert digest_of(copy) == digest_of(target)
    with pytest.raises(urllib.error.HTTPError, match="409") as refused:
        ask(interceptor, "POST", f"/reproject?from={taken['version'] + 2}")
    refused.value.close()
    assert ask(interceptor, "POST", "/reproject?from=1")["from"] == 1
    assert digest_of(copy) == digest_of(target)
    os.kill(interceptor.state()["target"]["pid"], 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted_disk(tmp_path / "disk") as disk:
        yield disk


async def test_a_full_disk_takes_no_checkpoint_and_nothing_else(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path, small_disk: SmallDisk
) -> None:
    """The checkpoints' own disk is full: each request is answered, nothing is trimmed, and room helps at once."""
    target = start_counter(processes)
    interceptor = start_interceptor(
        target, "--log", f"file://{tmp_path}/log", *HTTP, "--checkpoint-dir", f"{small_disk.directory}/checkpoints",
        "--retain", "checkpoints:1", "--segment-bytes-max", "1000",
    )  # fmt: skip
    clients = Clients(interceptor, 5)
    await clients.acknowledged(50)
    while small_disk.fill():
        pass
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint")
    with refused.value as answer:
        assert "No space left on device" in json.load(answer)["detail"]
    await clients.acknowledged(50)
    assert interceptor.state()["versions"]["first"] == 1
    assert not list((small_disk.directory / "checkpoints").glob("http-*"))
    small_disk.make_room()
    assert (await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint"))["verified"]
    seen = await clients.finish()
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], [])
    assert interceptor.state()["versions"]["first"] > 1


async def test_a_signal_asks_for_a_checkpoint(start_interceptor: StartInterceptor, processes: Processes) -> None:
    interceptor = start_interceptor(start_counter(processes))
    assert interceptor.process is not None
    interceptor.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: ask(interceptor, "GET", "/checkpoint"), "the checkpoint")
