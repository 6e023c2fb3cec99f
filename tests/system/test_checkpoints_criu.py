"""Checkpoints of whole processes by a real CRIU: dumped while they live, restored after real kills, exact."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from counting import Clients, applied, apply, digest_of, start_counter
from criu_control import RefusedError, ask, kill_target, metric, output_of, post
from faulty_disk import SmallDisk, mounted_disk
from support import PYTHON, Processes, RunningInterceptor, Server, accepts, wait_until

from bench.processes import free_port
from interceptor.target.subreaper import parent_of


@pytest.fixture
def check_exact(processes: Processes, criu_target: Server) -> Callable[..., None]:
    """The target's state is that of one which got the same operations without ever dying."""

    def check(through: Server = criu_target) -> None:
        undisturbed = start_counter(processes)
        apply(undisturbed, applied(through))
        assert digest_of(through) == digest_of(undisturbed)

    return check


async def test_checkpoints_under_load_with_random_kills(
    start_criu: Callable[..., RunningInterceptor], criu_target: Server, check_exact: Callable[..., None]
) -> None:
    """Rule 4: after each kill, also one during a dump or a restore, the state is exact and every request answered."""
    chance = random.Random(7)
    interceptor = start_criu(
        "--checkpoint-interval", "0.5", "--retain", "checkpoints:3", "--segment-bytes-max", "20000"
    )
    clients = Clients(interceptor, 10)
    await clients.acknowledged(50)
    newest = (await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint"))["version"]
    for _ in range(6):
        await clients.acknowledged(chance.randrange(1, 50))
        dump = asyncio.create_task(asyncio.to_thread(ask, interceptor, "POST", "/checkpoint"))
        await clients.acknowledged(chance.randrange(1, 200))
        await asyncio.to_thread(kill_target, interceptor)
        recovery = (await asyncio.to_thread(interceptor.state))["last_recovery"]
        assert recovery["from"] > newest
        assert recovery["divergences"] == 0
        with contextlib.suppress(RefusedError):  # the kill came first
            newest = (await dump)["version"]
    # Whether or not a kill came before each of them: now there is one again.
    await clients.acknowledged(10)
    assert (await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint"))["version"] > newest
    seen = await clients.finish()
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], [])
    assert sorted(applied(criu_target)) == sorted(seen.acknowledged)
    check_exact()


async def test_the_restored_target_is_ours_like_the_first(
    start_criu: Callable[..., RunningInterceptor], criu_target: Server
) -> None:
    """Its process id stays, it is our child, ends with us, and needs no replay after a planned stop."""
    interceptor = start_criu("--checkpoint-on-stop")
    assert interceptor.process is not None
    clients = Clients(interceptor, 3)
    await clients.acknowledged(30)
    seen = await clients.finish()
    pid = interceptor.state()["target"]["pid"]
    ask(interceptor, "POST", "/checkpoint")
    kill_target(interceptor)
    assert interceptor.state()["target"]["pid"] == pid
    assert parent_of(pid) == interceptor.process.pid
    before = digest_of(criu_target)
    interceptor.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(interceptor.process.wait, 30.0) == 0
    assert not accepts(criu_target.host, criu_target.port)

    second = start_criu("--checkpoint-on-stop")
    assert digest_of(criu_target) == before
    assert sorted(applied(criu_target)) == sorted(seen.acknowledged)
    assert second.state()["last_recovery"]["events"] == 0
    assert "counter listening" not in output_of(second), "the command was not started"
    os.kill(second.state()["target"]["pid"], signal.SIGTERM)
    wait_until(lambda: second.state()["target"]["incarnations"] == 2, "the target is back after an exit of its own")
    assert second.process is not None
    second.process.send_signal(signal.SIGKILL)
    wait_until(lambda: not accepts(criu_target.host, criu_target.port), "the target's death with us")

    third = start_criu()
    assert sorted(applied(criu_target)) == sorted(seen.acknowledged)
    assert third.state()["uncertain"] is None


async def test_damaged_and_missing_images_are_skipped(
    start_criu: Callable[..., RunningInterceptor], criu_target: Server, tmp_path: Path, check_exact: Callable[..., None]
) -> None:
    """Rule 8: the one before is used, down to the replay from version 1."""
    interceptor = start_criu()
    clients = Clients(interceptor, 2)
    for _ in range(3):
        await clients.acknowledged(20)
        await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint")
    await clients.finish()
    entries = ask(interceptor, "GET", "/checkpoint")
    directory = tmp_path / "log" / "checkpoints"
    next((directory / "criu-3").glob("core-*.img")).unlink()
    pages = next((directory / "criu-2").glob("pages-*.img"))
    with pages.open("r+b") as file:
        file.seek(4096)
        file.write(b"damage")
    kill_target(interceptor)
    assert interceptor.state()["last_recovery"]["from"] == entries[0]["version"] + 1
    check_exact()
    assert "the checkpoint criu-3 is skipped" in output_of(interceptor)
    assert "the checkpoint criu-2 is skipped" in output_of(interceptor)

    for path in (directory / "criu-1").iterdir():
        path.unlink()
    kill_target(interceptor)
    assert interceptor.state()["last_recovery"]["from"] == 1
    check_exact()


async def test_an_operator_chooses_where_the_restored_target_begins(
    start_criu: Callable[..., RunningInterceptor], check_exact: Callable[..., None]
) -> None:
    interceptor = start_criu()
    clients = Clients(interceptor, 2)
    await clients.acknowledged(20)
    first = await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint")
    await clients.acknowledged(20)
    await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint")
    await clients.finish()
    done = ask(interceptor, "POST", f"/reproject?from={first['version'] + 1}")
    assert done["from"] == first["version"] + 1
    check_exact()
    assert ask(interceptor, "POST", "/reproject?from=1")["from"] == 1
    check_exact()
    with pytest.raises(RefusedError, match="409"):
        ask(interceptor, "POST", f"/reproject?from={first['version'] + 2}")


async def test_an_idle_target_is_stopped_and_comes_back_with_the_next_request(
    start_criu: Callable[..., RunningInterceptor], criu_target: Server, check_exact: Callable[..., None]
) -> None:
    """Its memory is gone meanwhile; nothing is replayed, nobody is refused, and /state says what is going on."""
    interceptor = start_criu("--idle-checkpoint-after", "0.3")
    sent = []

    def rests() -> bool:
        return interceptor.state()["reason"] == "stopped while idle"

    for number in range(1, 4):
        pid = interceptor.state()["target"]["pid"]
        wait_until(rests, "the rest")
        assert interceptor.state()["target"]["pid"] is None
        wait_until(lambda pid=pid: pid is None or parent_of(pid) is None, "the end of its process")
        assert not accepts(criu_target.host, criu_target.port)
        sent.append(f"1-{number}")
        assert json.loads(post(interceptor, f"/counters/client1?op=1-{number}"))["value"] == number
    assert applied(interceptor) == sent
    check_exact(interceptor)
    state = interceptor.state()
    assert state["checkpoints"]["idle"]["rests"] >= 3
    assert state["last_recovery"] is None, "coming back from a rest is no recovery"
    assert metric(interceptor, "interceptor_rests_total") >= 3
    assert metric(interceptor, "interceptor_wake_seconds_count") >= 3

    wait_until(rests, "the rest")
    clients = Clients(interceptor, 5)
    await clients.acknowledged(50)
    seen = await clients.finish()
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], ["1-1: 4 instead of 1"])
    wait_until(rests, "the rest")
    assert ask(interceptor, "POST", "/reproject?from=1")["from"] == 1
    check_exact(interceptor)
    wait_until(rests, "the rest")
    assert interceptor.process is not None
    interceptor.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(interceptor.process.wait, 30.0) == 0
    assert start_criu().state()["last_recovery"]["events"] == 0
    check_exact()


APPLICATION = """
applied = []
def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        applied.append(environ["PATH_INFO"])
    body = " ".join(applied).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_a_prefork_server_comes_back_with_its_workers(
    start_criu: Callable[..., RunningInterceptor], criu_target: Server, tmp_path: Path
) -> None:
    """Master, worker, the listening socket that they share, and deleted temporary files: all are in the images."""
    (tmp_path / "remembering.py").write_text(APPLICATION)
    command = [PYTHON, "-m", "gunicorn", "remembering:app", "--chdir", str(tmp_path), "-b", criu_target.authority,
               "-k", "gthread", "--threads", "2", "-w", "1",
               # The usual place is the same for every gunicorn of this user, and another one would take it away.
               "--control-socket", str(tmp_path / "gunicorn.ctl")]  # fmt: skip
    interceptor = start_criu(command=command)
    assert post(interceptor, "/a") == "/a"
    taken = ask(interceptor, "POST", "/checkpoint")
    assert taken["detail"]["processes"] == 2
    applied_paths = "/a"
    for path, which in (("/b", "serving_pid"), ("/c", "pid"), ("/d", "serving_pid")):
        kill_target(interceptor, which)
        applied_paths += f" {path}"
        assert post(interceptor, path) == applied_paths
        assert interceptor.state()["last_recovery"]["from"] == taken["version"] + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted_disk(tmp_path / "disk") as disk:
        yield disk


async def test_a_full_disk_takes_no_checkpoint_and_nothing_else(
    start_criu: Callable[..., RunningInterceptor], small_disk: SmallDisk
) -> None:
    """The application goes on, no half image stays, nothing is trimmed."""
    interceptor = start_criu("--checkpoint-dir", f"{small_disk.directory}/checkpoints", "--retain", "checkpoints:1")
    clients = Clients(interceptor, 3)
    await clients.acknowledged(30)
    while small_disk.fill():
        pass
    with pytest.raises(RefusedError, match="No space left on device"):
        await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint")
    await clients.acknowledged(30)
    seen = await clients.finish()
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], [])
    assert interceptor.state()["versions"]["first"] == 1
    assert interceptor.state()["target"]["incarnations"] == 1
    assert not list((small_disk.directory / "checkpoints").glob("criu-*"))


@pytest.mark.parametrize(
    ("options", "command", "message"),
    [
        (("--criu-binary", "/nowhere/criu"), True, "there is no program /nowhere/criu"),
        (("--criu-binary", "{old}"), True, "version 3.17.1 is too old"),
        (("--criu-binary", "/bin/true"), True, "it says no version"),
        ((), False, "give its COMMAND after --"),
        (("--checkpoint-engine", "mark", "--checkpoint-compression", "zstd"), True, "has no images to compress"),
        (("--log-key-file", "{keys}"), True, "would not be encrypted"),
    ],
)
def test_what_can_not_work_is_refused_at_the_start(
    tmp_path: Path, options: tuple[str, ...], command: bool, message: str
) -> None:
    """One sentence, a non-zero exit code, and nothing is started."""
    old = tmp_path / "old-criu"
    old.write_text("#!/bin/sh\necho Version: 3.17.1\n")
    old.chmod(0o755)
    keys = tmp_path / "keys"
    keys.touch(0o600)
    keys.write_bytes(
        subprocess.run([PYTHON, "-m", "interceptor", "log", "new-key", "k1"], check=True, capture_output=True).stdout
    )
    given = [option.format(old=old, keys=keys) for option in options]
    started = tmp_path / "started"
    tried = subprocess.run(
        [PYTHON, "-m", "interceptor", "run", "--target", f"http://127.0.0.1:{free_port()}", "--listen",
         f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{free_port()}", "--log", f"file://{tmp_path}/log",
         "--checkpoint-engine", "criu", *given, *(["--", "touch", str(started)] if command else [])],
        capture_output=True, text=True, timeout=60.0,
    )  # fmt: skip
    assert tried.returncode != 0
    assert message in tried.stderr
    assert len(tried.stderr.strip().splitlines()) == 1
    assert not started.exists()
