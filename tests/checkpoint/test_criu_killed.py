"""What is left of a run of criu when we are killed in the middle of it: nothing.  A script stands in for criu."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from interceptor.checkpoint.criu_work import remove_left_ones, work_directory

ENDED_MS = 20_000

# Tells who it is, waits for the test's word, and runs the action script as criu does: with none of our descriptors.
FAKE = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --action-script ] && script=$2; shift; done
setsid sleep 600 &
echo $$ $! > {directory}/who
read -r word < {directory}/word
"""
DUMPING = 'CRTOOLS_SCRIPT_ACTION=pre-dump "$script"\n'
# What criu has restored goes on by itself, unless it was told to end.
RESTORING = """CRTOOLS_SCRIPT_ACTION=post-restore "$script" && echo believed > {directory}/believed
CRTOOLS_SCRIPT_ACTION=pre-resume CRTOOLS_INIT_PID=$! "$script"
"""
OWNER = """
import asyncio, pathlib, sys
from interceptor.checkpoint.criu_command import Criu
from interceptor.checkpoint.criu_dump import PreparedDump

async def dump():
    async with PreparedDump(Criu(sys.argv[1]), 1, pathlib.Path(sys.argv[2])):
        print("prepared", flush=True)
        await asyncio.Event().wait()

async def restore():
    await Criu(sys.argv[1]).restore(pathlib.Path(sys.argv[2]), {})

asyncio.run(globals()[sys.argv[3]]())
"""
StartOwner = Callable[[str, str], tuple[subprocess.Popen[str], list[int]]]


@pytest.fixture
def start_owner(tmp_path: Path) -> StartOwner:
    """Start a process that calls the fake; return it, and pidfds of the fake and of what the fake has made."""
    for name in ("who", "word"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "work").mkdir()

    def start(action: str, then: str) -> tuple[subprocess.Popen[str], list[int]]:
        fake = tmp_path / "criu"
        fake.write_text((FAKE + then).format(directory=tmp_path))
        fake.chmod(0o700)
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(fake), str(tmp_path), action], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": str(tmp_path / "work")},
        )  # fmt: skip
        pids = (tmp_path / "who").read_text().split()
        return owner, [os.pidfd_open(int(pid)) for pid in pids]

    return start


def ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(ENDED_MS))


def kill(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    assert owner.stdout is not None
    owner.stdout.close()


def end(pidfds: list[int]) -> None:
    for pidfd in pidfds:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


@pytest.mark.parametrize("prepared", [True, False])
def test_a_prepared_dump_ends_with_us(start_owner: StartOwner, tmp_path: Path, *, prepared: bool) -> None:
    """Whether its script waits for our word already, or has yet to begin."""
    owner, pidfds = start_owner("dump", DUMPING)
    try:
        if prepared:
            (tmp_path / "word").write_text("go\n")
            assert owner.stdout is not None
            assert owner.stdout.readline() == "prepared\n"
        kill(owner)
        if not prepared:
            (tmp_path / "word").write_text("go\n")
        assert ended(pidfds[0])
    finally:
        end(pidfds)


def test_what_is_restored_without_us_is_ended(start_owner: StartOwner, tmp_path: Path) -> None:
    """The kernel would kill it with us, but only from the moment at which criu has told it so."""
    owner, pidfds = start_owner("restore", RESTORING)
    try:
        kill(owner)
        (tmp_path / "word").write_text("go\n")
        assert ended(pidfds[1])
        assert ended(pidfds[0])
        assert not (tmp_path / "believed").exists()
    finally:
        end(pidfds)


def test_directories_of_a_killed_process_are_removed(
    start_owner: StartOwner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in use are not, nor what a link shows."""
    owner, pidfds = start_owner("restore", RESTORING)
    kill(owner)
    (tmp_path / "word").write_text("go\n")
    assert ended(pidfds[0])
    end(pidfds)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "work"))
    with work_directory() as work:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (tmp_path / "work" / "interceptor-criu-link").symlink_to(elsewhere)
        assert len(list((tmp_path / "work").iterdir())) == 3
        remove_left_ones()
        assert {path.name for path in (tmp_path / "work").iterdir()} == {"interceptor-criu-link", Path(work).name}
        assert elsewhere.exists()
        fd = os.open(work, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
