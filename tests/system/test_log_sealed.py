"""A whole interceptor with an encrypted log: a killed target has its memory back, and the disk shows nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from counting import Clients, applied, start_counter
from support import PYTHON, ROOT, Processes, RunningInterceptor, wait_until

StartInterceptor = Callable[..., RunningInterceptor]


def new_key(key_id: str) -> str:
    command = [PYTHON, "-m", "interceptor", "log", "new-key", key_id]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def write_keys(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def shown_of_process(pid: int) -> str:
    """Return what everybody on the machine sees of a process, and what its owner does."""
    return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()


async def stop(interceptor: RunningInterceptor) -> None:
    assert interceptor.process is not None
    interceptor.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(interceptor.process.wait)


def run_to_its_end(*options: str) -> subprocess.CompletedProcess[str]:
    """Run an interceptor that can't start."""
    places = ("--target", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    command = [PYTHON, "-m", "interceptor", "run", *places, *options]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60.0)


async def test_a_killed_target_has_its_memory_back_from_a_sealed_log_across_a_rotation(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path
) -> None:
    keys, log_url = tmp_path / "keys", f"file://{tmp_path}/log"
    old, new = new_key("old"), new_key("new")
    write_keys(keys, old)
    target = start_counter(processes)
    interceptor = start_interceptor(target, "--log", log_url, "--log-key-file", str(keys))
    clients = Clients(interceptor, 10)
    await clients.acknowledged(100)
    first = await clients.finish()
    await stop(interceptor)

    write_keys(keys, new + old)
    interceptor = start_interceptor(target, "--log", log_url, "--log-key-file", str(keys))
    process, output = interceptor.process, interceptor.output
    assert process is not None
    assert output is not None
    before = applied(target)
    assert target.process is not None
    target.process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(target.process.wait)
    target = await asyncio.to_thread(start_counter, processes, target.port)
    await asyncio.to_thread(wait_until, lambda: applied(target) == before, "the memory")
    await asyncio.to_thread(wait_until, interceptor.is_active, "Active")
    assert (first.refused, first.broken, first.wrong) == ([], [], [])
    assert sorted(before) == sorted(first.acknowledged)
    assert interceptor.state()["last_recovery"]["divergences"] == 0

    secrets = [line.split()[1] for line in (old, new)]
    told = output.read_text() + shown_of_process(process.pid) + str(interceptor.state())
    assert not [secret for secret in secrets if secret in told]
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "log").iterdir())
    assert b"/counters/" not in on_disk
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "log").iterdir()} == {0o600}
    await stop(interceptor)

    for options, says in (((), "no key file was given"), (("--log-key-file", str(keys)), "is not in the key file")):
        write_keys(keys, new)
        ended = run_to_its_end("--log", log_url, *options)
        assert ended.returncode == 1
        (line,) = ended.stderr.strip().splitlines()
        assert "is sealed with the key 'old'" in line
        assert says in line
    os.chmod(keys, 0o644)
    assert "can be read by everybody" in run_to_its_end("--log", log_url, "--log-key-file", str(keys)).stderr
