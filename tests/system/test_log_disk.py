"""A disk that is full, that fails, or that is not ours: nothing acknowledged is lost (rules 2, 8, 9)."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import google_crc32c
import pytest
from counting import Clients, applied, start_counter
from faulty_disk import FaultyDisk, SmallDisk, compiled_library, mounted_disk
from log_checks import Restartable, check_end, contents, post, refusal_to_start, replayed, until_everybody_waits
from support import KILLS, Processes, Server, wait_until
from test_kills import check_exact

from bench.processes import free_port
from storage_backends.errors import LogUnavailableError
from storage_backends.file.facts import load_facts, store_facts


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_library(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def faulty_disk(library: Path, tmp_path: Path) -> FaultyDisk:
    return FaultyDisk(library, tmp_path / "log", tmp_path / "triggers")


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20.0) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def fill_under_load(disk: SmallDisk, interceptor: Restartable) -> None:
    """Fill the disk until 20 clients are held for good: a log may have prepared room, and give it back when it must."""
    while disk.fill():
        await interceptor.until("everybody held", held=20, log_unavailable=True)


async def test_a_full_disk_holds_and_goes_on_when_there_is_room(small_disk: SmallDisk, processes: Processes) -> None:
    target = start_counter(processes)
    interceptor = Restartable(processes, target, "--log", f"file://{small_disk.directory}/log")
    await interceptor.start()
    clients = Clients(interceptor, 20)
    for _ in range(3):
        await clients.acknowledged(200)
        await fill_under_load(small_disk, interceptor)
        assert "No space left on device" in interceptor.state()["log_unavailable"]
        assert interceptor.state()["state"] == "Active"
        known = len(clients.seen.acknowledged)
        assert len(applied(target)) == known, "what has no version is not delivered"
        small_disk.make_room()
        await clients.acknowledged(200)
    await interceptor.until("room", log_unavailable=None)
    await check_end(processes, interceptor, target, clients)


async def test_beyond_the_hold_window_a_full_disk_means_503_and_nothing_happened(
    small_disk: SmallDisk, processes: Processes
) -> None:
    target = start_counter(processes)
    options = ("--log", f"file://{small_disk.directory}/log", "--hold-time-max-s", "0.5")
    interceptor = Restartable(processes, target, *options)
    await interceptor.start()
    clients = Clients(interceptor, 20)
    await clients.acknowledged(200)
    await fill_under_load(small_disk, interceptor)
    status, retry_after, content = await asyncio.to_thread(post, interceptor, "99-1")
    assert (status, retry_after) == (503, [b"1"])
    assert b"had no room for it within 0.5 s; the request was not recorded and not delivered" in content
    # Each of them, and so the ones that the log had refused first, too.
    await asyncio.to_thread(
        wait_until, lambda: len({each.partition("-")[0] for each in clients.seen.refused}) == 20, "503"
    )
    small_disk.make_room()
    await clients.acknowledged(200)
    seen = await clients.finish()
    assert (seen.broken, seen.wrong) == ([], [])
    operations = applied(target)
    check_exact(operations, seen.acknowledged)
    assert sorted(operations) == sorted(seen.acknowledged), "a 503 means that nothing happened and nothing will"
    assert interceptor.state()["versions"]["last"] == len(operations)
    assert (await replayed(processes, interceptor))[0] == operations


@pytest.mark.parametrize("room_before_restart", [False, True])
async def test_a_stop_while_the_disk_is_full_ends_and_loses_nothing(
    small_disk: SmallDisk, processes: Processes, *, room_before_restart: bool
) -> None:
    """SIGTERM: the held ones are told that nothing happened, and who was acknowledged is in log and target."""
    target = start_counter(processes)
    options = ("--log", f"file://{small_disk.directory}/log", "--drain-timeout-s", "5")
    interceptor = Restartable(processes, target, *options)
    await interceptor.start()
    clients = Clients(interceptor, 20)
    await clients.acknowledged(200)
    await fill_under_load(small_disk, interceptor)
    known = list(clients.seen.acknowledged)
    # Less than the drain may take: what the log has refused is no reason to wait.
    async with asyncio.timeout(4.0):
        assert await interceptor.end(signal.SIGTERM) == 0
    assert "Traceback" not in interceptor.said()
    seen = await clients.finish()
    assert len({each.partition("-")[0] for each in seen.refused}) == 20, "each of the held ones was told"
    assert seen.acknowledged == known
    assert sorted(applied(target)) == sorted(known), "a 503 means that nothing happened and nothing will"

    if room_before_restart:
        small_disk.make_room()
    await interceptor.start()
    assert interceptor.state()["versions"]["last"] == len(known)
    if not room_before_restart:
        small_disk.make_room()
    assert (await asyncio.to_thread(post, interceptor, "99-1"))[0] == 200
    assert applied(target)[-1] == "99-1"
    assert (await replayed(processes, interceptor))[0] == applied(target)


def test_facts_that_find_room_for_a_part_leave_the_old_ones(small_disk: SmallDisk) -> None:
    """Rule 8: else the next start would find half a file."""
    fd = os.open(small_disk.directory, os.O_RDONLY)
    try:
        store_facts(small_disk.directory, fd, {"clean_stop": 7})
        small_disk.fill(pages_left=1)
        with pytest.raises(LogUnavailableError, match="No space left"):
            store_facts(small_disk.directory, fd, {"checkpoints": ["x" * 6_000]})
        assert load_facts(small_disk.directory) == {"clean_stop": 7}
        small_disk.make_room()
        store_facts(small_disk.directory, fd, {"clean_stop": 8})
        assert load_facts(small_disk.directory) == {"clean_stop": 8}
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", ["sync", "write"])
async def test_a_disk_that_fails_ends_every_acknowledgement(
    kind: str, faulty_disk: FaultyDisk, processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 9; then the power fails too, and what was acknowledged is there for a new target all the same."""
    target = start_counter(processes)
    interceptor = Restartable(processes, target, "--log", f"file://{tmp_path}/log")
    with monkeypatch.context() as patch:
        for name, value in faulty_disk.environment.items():
            patch.setenv(name, value)
        await interceptor.start()
    clients = Clients(interceptor, 20)
    await clients.acknowledged(300)
    faulty_disk.begin(kind)
    await interceptor.until("Failed", state="Failed")
    known = len(clients.seen.acknowledged)
    assert "Input/output error" in interceptor.state()["problem"]
    assert await asyncio.to_thread(status_of, f"{interceptor.admin_url}/healthz") == 503
    assert await asyncio.to_thread(status_of, f"{interceptor.admin_url}/readyz") == 503
    faulty_disk.end(kind)
    assert (await asyncio.to_thread(post, interceptor, "99-1"))[0] == 503, "never retried and believed"
    seen = await clients.finish()
    # An answer that left in the moment before the failure may be read after it, one a client.
    assert len(seen.acknowledged) - known <= 20
    for number in range(2, 5):
        assert (await asyncio.to_thread(post, interceptor, f"99-{number}"))[0] == 503
    assert await interceptor.end(signal.SIGTERM) == 0
    assert "Traceback" not in interceptor.said()

    assert target.process is not None
    target.process.kill()
    await asyncio.to_thread(target.process.wait)
    faulty_disk.cut_power()
    target = await asyncio.to_thread(start_counter, processes, target.port)
    await interceptor.start()
    check_exact(applied(target), seen.acknowledged)
    assert "99-1" not in applied(target)
    assert (await asyncio.to_thread(post, interceptor, "99-9"))[0] == 200


async def test_a_stop_while_a_flush_hangs_ends_and_acknowledges_nothing_that_is_lost(
    faulty_disk: FaultyDisk, processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules 2 and 7: SIGTERM ends the wait for a disk that never answers; what was acknowledged outlasts the power."""
    target = start_counter(processes)
    interceptor = Restartable(processes, target, "--log", f"file://{tmp_path}/log", "--drain-timeout-s", "1")
    with monkeypatch.context() as patch:
        for name, value in faulty_disk.environment.items():
            patch.setenv(name, value)
        await interceptor.start()
    clients = Clients(interceptor, 20)
    await clients.acknowledged(200)
    faulty_disk.begin("hang")
    await until_everybody_waits(interceptor, 20)
    async with asyncio.timeout(20.0):
        assert await interceptor.end(signal.SIGTERM) == 0
    assert "the disk does not answer" in interceptor.said()
    assert "Traceback" not in interceptor.said()
    seen = await clients.finish()

    assert target.process is not None
    target.process.kill()
    await asyncio.to_thread(target.process.wait)
    faulty_disk.cut_power()
    target = await asyncio.to_thread(start_counter, processes, target.port)
    await interceptor.start()
    check_exact(applied(target), seen.acknowledged)


async def test_the_power_fails_again_and_again_under_load(
    faulty_disk: FaultyDisk, processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 2 without the page cache's help: both die, and what no flush has covered is gone."""
    for name, value in faulty_disk.environment.items():
        monkeypatch.setenv(name, value)
    target = start_counter(processes)
    interceptor = Restartable(processes, target, "--log", f"file://{tmp_path}/log")
    await interceptor.start()
    clients = Clients(interceptor, 20)
    for _ in range(KILLS):
        await clients.acknowledged(150)
        await interceptor.end()
        assert target.process is not None
        target.process.kill()
        await asyncio.to_thread(target.process.wait)
        faulty_disk.cut_power()
        target = await asyncio.to_thread(start_counter, processes, target.port)
        await interceptor.start()
    seen = await clients.finish()
    check_exact(applied(target), seen.acknowledged)
    assert (await replayed(processes, interceptor))[0] == applied(target)


def read_only(log: Path) -> str:
    return "read-only"


def foreign(log: Path) -> str:
    (log / "000003.log").write_bytes(b"leveldb")
    return "foreign"


def newer_format(log: Path) -> str:
    (segment,) = log.glob("*.log")
    data = bytearray(segment.read_bytes())
    data[8] = 2
    data[28:32] = google_crc32c.value(bytes(data[:28])).to_bytes(4, "little")
    segment.write_bytes(data)
    return "newer release"


def damaged_facts(log: Path) -> str:
    (log / "FACTS.json").write_bytes(b'{"incarnation": ')
    return "FACTS.json"


@pytest.mark.parametrize("wrong", [read_only, foreign, newer_format, damaged_facts])
async def test_a_directory_that_is_not_usable_is_refused_and_not_touched(
    wrong: Callable[[Path], str], small_disk: SmallDisk, processes: Processes
) -> None:
    """Rule 8."""
    target = start_counter(processes)
    log = small_disk.directory / "log"
    options = ("--log", f"file://{log}")
    interceptor = Restartable(processes, target, *options)
    await interceptor.start()
    assert (await asyncio.to_thread(post, interceptor, "1-1"))[0] == 200
    assert await interceptor.end(signal.SIGTERM) == 0
    word = wrong(log)
    before = contents(log)
    if wrong is read_only:
        small_disk.remount("ro")
    assert word in (await refusal_to_start(target, *options)).lower().replace("facts.json", "FACTS.json")
    assert contents(log) == before
    assert applied(target) == ["1-1"]


async def test_a_full_disk_is_no_place_for_a_new_log(small_disk: SmallDisk) -> None:
    small_disk.fill()
    sentence = await refusal_to_start(Server("127.0.0.1", free_port()), "--log", f"file://{small_disk.directory}/log")
    assert "no space left to open the log" in sentence
    small_disk.make_room()
    assert not [path for path in small_disk.directory.rglob("*") if path.is_file() and path.stat().st_size]
