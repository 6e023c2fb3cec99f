"""Rules 1 to 3 and 5 under real kills: nothing acknowledged is lost or applied twice, and the order is the log's."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from counting import Clients, applied, apply, counter_command, digest_of, start_counter
from support import KILLS, PYTHON, ROOT, Processes, RunningInterceptor, Server, accepts, wait_until

from bench.processes import free_port

StartInterceptor = Callable[..., RunningInterceptor]


async def until_active(interceptor: RunningInterceptor) -> None:
    await asyncio.to_thread(wait_until, interceptor.is_active, "Active")


def check_exact(operations: list[str], acknowledged: list[str]) -> None:
    """Each acknowledged operation once, and each client's operations in the order in which it made them."""
    assert len(operations) == len(set(operations)), "something was applied twice"
    assert set(acknowledged) <= set(operations), "something acknowledged was lost"
    of_client: dict[str, int] = {}
    for operation in operations:
        client, _, number = operation.partition("-")
        assert of_client.get(client, 0) < int(number), "a client's operations changed their order"
        of_client[client] = int(number)


async def test_a_target_that_is_killed_again_and_again_under_load(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path
) -> None:
    """Every request is answered with 200, and the final state equals that of a run without kills."""
    chance = random.Random(7)
    target = start_counter(processes)
    interceptor = start_interceptor(target, "--log", f"file://{tmp_path}/log")
    clients = Clients(interceptor, 20)
    for _ in range(15):
        await clients.acknowledged(chance.randrange(20, 200))
        assert target.process is not None
        target.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(target.process.wait)
        target = await asyncio.to_thread(start_counter, processes, target.port)
    await clients.acknowledged(20)
    seen = await clients.finish()
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], [])
    operations = applied(target)
    check_exact(operations, seen.acknowledged)
    assert sorted(operations) == sorted(seen.acknowledged)
    state = interceptor.state()
    assert state["last_recovery"]["divergences"] == 0
    assert state["quarantined"] == []
    assert state["uncertain"] is None

    undisturbed = start_counter(processes)
    await asyncio.to_thread(apply, undisturbed, operations)
    assert digest_of(target) == digest_of(undisturbed)


async def test_a_supervised_target_is_started_again_and_has_its_memory_back(
    start_interceptor: StartInterceptor, tmp_path: Path
) -> None:
    target = Server("127.0.0.1", free_port())
    interceptor = start_interceptor(target, "--log", f"file://{tmp_path}/log", "--", *counter_command(target.port))
    clients = Clients(interceptor, 20)
    for _ in range(8):
        await clients.acknowledged(100)
        state = await asyncio.to_thread(interceptor.state)
        os.kill(state["target"]["pid"], signal.SIGKILL)
    await clients.acknowledged(20)
    seen = await clients.finish()
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], [])
    check_exact(applied(target), seen.acknowledged)


@pytest.mark.parametrize("together_with_target", [False, True])
async def test_the_interceptor_is_killed_under_load(
    processes: Processes, tmp_path: Path, *, together_with_target: bool
) -> None:
    """Rule 2: what was acknowledged is in the log; after the death of both the target's state is the log's."""
    target = start_counter(processes)
    admin, listen = free_port(), free_port()
    command = [
        PYTHON, "-m", "interceptor", "run", "--target", target.url, "--listen", f"127.0.0.1:{listen}",
        "--admin", f"127.0.0.1:{admin}", "--log", f"file://{tmp_path}/log",
    ]  # fmt: skip
    interceptor = RunningInterceptor("127.0.0.1", listen, admin=Server("127.0.0.1", admin))
    interceptor.process, _ = processes.start(command, name="interceptor")
    await until_active(interceptor)
    clients = Clients(interceptor, 20)
    for _ in range(KILLS):
        await clients.acknowledged(150)
        interceptor.process.kill()
        await asyncio.to_thread(interceptor.process.wait)
        if together_with_target:
            assert target.process is not None
            target.process.kill()
            await asyncio.to_thread(target.process.wait)
            target = await asyncio.to_thread(start_counter, processes, target.port)
        interceptor.process, _ = processes.start(command, name="interceptor")
        await until_active(interceptor)
    seen = await clients.finish()
    assert seen.refused == []
    check_exact(applied(target), seen.acknowledged)

    copy = start_counter(processes)
    done = await asyncio.to_thread(
        subprocess.run,
        [PYTHON, "-m", "interceptor", "reproject", "--target", copy.url, "--admin", f"127.0.0.1:{admin}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"{interceptor.state()['versions']['last']} events" in done.stdout
    check_exact(applied(copy), seen.acknowledged)
    if together_with_target:
        assert applied(copy) == applied(target)
        assert "0 diverged" in done.stdout


async def test_an_orderly_stop_under_load_leaves_nothing_in_doubt(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path
) -> None:
    """SIGTERM: answers what it accepted, marks the log clean, and knows the living target again."""
    target = start_counter(processes)
    interceptor = start_interceptor(target, "--log", f"file://{tmp_path}/log")
    clients = Clients(interceptor, 20)
    await clients.acknowledged(300)
    assert interceptor.process is not None
    interceptor.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(interceptor.process.wait, 20) == 0
    clients_done = asyncio.create_task(clients.finish())
    seen = await clients_done
    operations = applied(target)
    check_exact(operations, seen.acknowledged)
    assert set(operations) == set(seen.acknowledged), "what was applied was also answered"
    facts = json.loads((tmp_path / "log" / "FACTS.json").read_text())
    assert facts["clean_stop"] == len(operations)

    again = start_interceptor(target, "--log", f"file://{tmp_path}/log")
    state = again.state()
    assert state["uncertain"] is None
    assert state["last_recovery"] is None, "a living target that is known gets nothing again"
    assert applied(target) == operations


def test_a_second_interceptor_on_the_same_log_is_refused(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path
) -> None:
    """Rule 8: a second writer is refused by name."""
    target = start_counter(processes)
    first = start_interceptor(target, "--log", f"file://{tmp_path}/log")
    second = subprocess.run(
        [PYTHON, "-m", "interceptor", "run", "--target", target.url, "--listen", f"127.0.0.1:{free_port()}",
         "--admin", f"127.0.0.1:{free_port()}", "--log", f"file://{tmp_path}/log"],
        cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert first.process is not None
    assert f"process {first.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def poison_command(port: int) -> list[str]:
    """A server that dies of one request, and closes the connection on another; it answers with what it survived."""
    code = (
        "import http.server, os\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    protocol_version = 'HTTP/1.1'\n"
        "    seen = []\n"
        "    def do_POST(self):\n"
        "        if self.path == '/poison': os._exit(1)\n"
        "        if self.path == '/cut':\n"
        "            self.close_connection = True\n"
        "            return\n"
        "        self.seen.append(self.path)\n"
        "        body = ' '.join(self.seen).encode()\n"
        "        self.send_response(200)\n"
        "        self.send_header('Content-Length', str(len(body)))\n"
        "        self.end_headers()\n"
        "        self.wfile.write(body)\n"
        "    def log_message(self, *args): pass\n"
        f"http.server.ThreadingHTTPServer(('127.0.0.1', {port}), Handler).serve_forever()\n"
    )
    return [PYTHON, "-c", code]


@pytest.mark.parametrize("path", ["/poison", "/cut"])
def test_an_event_that_kills_a_supervised_target_is_quarantined(
    start_interceptor: StartInterceptor, tmp_path: Path, path: str
) -> None:
    """Poison: a tombstone, 502 to its client, and the others go on without it."""
    port = free_port()
    interceptor = start_interceptor(
        Server("127.0.0.1", port), "--log", f"file://{tmp_path}/log", "--", *poison_command(port)
    )

    assert post(interceptor, "/a") == (200, "/a")
    status, detail = post(interceptor, path)
    assert status == 502
    assert "event 2 is quarantined" in detail
    assert post(interceptor, "/b") == (200, "/a /b")
    assert interceptor.state()["quarantined"] == [2]
    assert interceptor.metric("interceptor_quarantined_events_total") == 1


def test_an_event_on_which_a_living_target_closes_the_connection_is_passed_in_each_incarnation(
    processes: Processes, start_interceptor: StartInterceptor, tmp_path: Path
) -> None:
    """Rule 3: delivered once to each incarnation, never again to the same one; and rule 8: what is in doubt is said."""
    port = free_port()

    def start() -> subprocess.Popen[bytes]:
        process, _ = processes.start(poison_command(port), name="target")
        wait_until(lambda: accepts("127.0.0.1", port), "the target")
        return process

    target = start()
    interceptor = start_interceptor(Server("127.0.0.1", port), "--log", f"file://{tmp_path}/log")
    assert post(interceptor, "/a") == (200, "/a")
    status, detail = post(interceptor, "/cut")
    assert status == 502
    assert "not known whether event 2 was applied" in detail
    assert post(interceptor, "/b") == (200, "/a /b")
    for incarnations in (2, 3):
        target.kill()
        target.wait()
        target = start()
        wait_until(lambda expected=incarnations: in_step(interceptor, expected), "the new incarnation")
    assert post(interceptor, "/c") == (200, "/a /b /c")
    assert interceptor.state()["quarantined"] == []


def in_step(interceptor: RunningInterceptor, incarnations: int) -> bool:
    state = interceptor.state()
    return bool(state["state"] == "Active" and state["target"]["incarnations"] == incarnations)


def post(interceptor: RunningInterceptor, path: str) -> tuple[int, str]:
    try:
        request = urllib.request.Request(f"{interceptor.url}{path}", method="POST", data=b"")
        with urllib.request.urlopen(request, timeout=30.0) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
