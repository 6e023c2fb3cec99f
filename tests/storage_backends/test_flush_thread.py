"""The compiled flush thread: how a flush ends, and what a log does that closes while one is under way (rules 2, 9)."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from storage_backends.conformance import events, read_all, synced
from storage_backends.errors import LogFailedError, LogLockedError
from storage_backends.file import FileLog
from storage_backends.file.flush_thread import INT_BYTES, FlushThread
from storage_backends.options import LogOptions
from tests.interceptor.fakes import until


@pytest.fixture(autouse=True)
def _compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests import sources; this part has none in Python."""
    monkeypatch.setattr("storage_backends.file.flush_thread.execution", "compiled")
    pytest.importorskip("hotpath.flush_loop", reason="hotpath/flush_loop.c is not compiled: pip install -e .")


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Have threads started that do nothing; return what they were given."""
    given: list[tuple[int, int]] = []
    monkeypatch.setattr("hotpath.flush_loop.start", lambda *fds: given.append(fds))
    return given


def open_log(place: Path) -> FileLog:
    log = FileLog(f"file://{place}", place, LogOptions())
    assert log._flush_thread is not None
    return log


async def ended(submit: Callable[[Callable[[OSError | None], None]], None]) -> OSError | None:
    result: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    submit(result.set_result)
    return await result


async def test_a_flush_ends_with_what_the_system_said(tmp_path: Path) -> None:
    thread = FlushThread()
    reading_fd, writing_fd = os.pipe()
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY, 0o600)
    assert await ended(lambda done: thread.submit(fd, done)) is None
    error = await ended(lambda done: thread.submit(writing_fd, done))
    assert error is not None
    assert (error.errno, error.strerror) == (errno.EINVAL, os.strerror(errno.EINVAL))
    assert await ended(lambda done: thread.submit(fd, done)) is None
    thread.leave_loop()
    thread.close()
    for closed_fd in (fd, reading_fd, writing_fd):
        os.close(closed_fd)


async def test_its_thread_ends_with_it() -> None:
    before = len(os.listdir("/proc/self/task"))
    thread = FlushThread()
    assert len(os.listdir("/proc/self/task")) == before + 1
    thread.close()
    await until(lambda: len(os.listdir("/proc/self/task")) == before)


async def test_a_thread_that_can_not_be_started_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: int) -> None:
        raise OSError(errno.EAGAIN, "no thread")

    monkeypatch.setattr("hotpath.flush_loop.start", refused)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="no thread"):
        FlushThread()
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_a_thread_that_has_ended_flushes_nothing(hung: list[tuple[int, int]], tmp_path: Path) -> None:
    """Rule 9: no answer is no success."""
    thread = FlushThread()
    for fd in hung[0]:
        os.close(fd)
    with pytest.raises(BrokenPipeError):
        thread.submit(0, lambda _: None)
    thread.leave_loop()
    error = thread.wait()
    assert error is not None
    assert error.errno == errno.EPIPE
    thread.close()


async def test_what_was_synced_is_durable_and_there(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for version in range(1, 21):
        log.append(events(version, version))
        assert await synced(log) is None
        assert log.durable_version == version
    assert await read_all(log.reader(1)) == events(1, 20)
    log.close()
    again = open_log(tmp_path)
    assert again.last_version == 20
    again.close()


def test_a_log_serves_one_event_loop_after_the_other(tmp_path: Path) -> None:
    log = open_log(tmp_path)

    async def write(version: int) -> None:
        log.append(events(version, version))
        assert await synced(log) is None

    for version in (1, 2):
        asyncio.run(write(version))
    assert log.durable_version == 2
    log.close()


async def test_a_failed_flush_is_final(tmp_path: Path) -> None:
    """Rule 9."""
    log = open_log(tmp_path)
    log.append(events(1, 1))
    assert await synced(log) is None
    log.append(events(2, 2))
    reading_fd, writing_fd = os.pipe()
    os.dup2(writing_fd, log._writer._fd)
    error = await synced(log)
    assert isinstance(error, LogFailedError)
    assert log.durable_version == 1
    with pytest.raises(LogFailedError):
        log.append(events(3, 3))
    log.close()
    os.close(reading_fd)
    os.close(writing_fd)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_close_waits_for_the_flush_that_is_under_way_and_tells_how_it_ended(
    new_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    """Also where the event loop has left the pipe non-blocking, as uvloop does."""

    async def close_at_once() -> None:
        log = open_log(tmp_path)
        log.append(events(1, 1))
        assert await synced(log) is None
        log.append(events(2, 2))
        told: list[object] = []
        log.sync(told.append)
        log.close()
        assert told == []
        await asyncio.sleep(0)
        assert told == [None]
        assert log.durable_version == 2

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(close_at_once())


async def test_a_flush_that_fails_while_the_log_closes_is_not_repeated(tmp_path: Path) -> None:
    """Rule 9: also where the close comes before the answer."""
    log = open_log(tmp_path)
    log.append(events(1, 1))
    reading_fd, writing_fd = os.pipe()
    os.dup2(writing_fd, log._writer._fd)
    log.sync(lambda _: None)
    with pytest.raises(LogFailedError, match="Invalid argument"):
        log.close()
    assert log.durable_version == 0
    os.close(reading_fd)
    os.close(writing_fd)


async def test_a_hanging_flush_does_not_hold_up_the_close_for_ever_and_keeps_the_lock(
    tmp_path: Path, hung: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules 2 and 8: what was not flushed is not called durable, and nobody else may write until the disk is done."""
    monkeypatch.setattr("storage_backends.file.log.GIVEN_UP_TIMEOUT_S", 0.01)
    log = open_log(tmp_path)
    log.append(events(1, 1))
    log.sync(lambda _: None)
    with pytest.raises(LogFailedError, match=r"does not answer.*after version 0 "):
        log.close()
    with pytest.raises(LogLockedError):
        open_log(tmp_path)
    released = threading.Thread(target=log._thread.finish, args=(lambda: None,))
    os.write(hung[0][1], bytes(INT_BYTES))
    released.start()
    await asyncio.to_thread(released.join)
    again = open_log(tmp_path)
    assert again.last_version == 1
    again.close()
    for fd in (fd for fds in hung for fd in fds):
        os.close(fd)
