"""Interceptor itself is killed: supervised it is exact, and a recovery that was cut short is not begun again."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path

from counting import Clients, applied
from support import PYTHON, Processes, RunningInterceptor, Server, accepts, wait_until
from test_kills import check_exact, counter_command, until_active

from bench.processes import free_port

# Answers slowly, so that a recovery lasts; remembers what it has applied.
SLOW = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    applied = []
    def do_POST(self):
        time.sleep(0.02)
        self.applied.append(self.path)
        self.answer()
    def do_GET(self):
        self.answer()
    def answer(self):
        body = " ".join(self.applied).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def run_command(target: Server, interceptor: RunningInterceptor, log: Path, *command: str) -> list[str]:
    assert interceptor.admin is not None
    supervised = ["--", *command] if command else []
    return [PYTHON, "-m", "interceptor", "run", "--target", target.url, "--listen", interceptor.authority,
            "--admin", interceptor.admin.authority, "--log", f"file://{log}", *supervised]  # fmt: skip


def somewhere() -> RunningInterceptor:
    return RunningInterceptor("127.0.0.1", free_port(), admin=Server("127.0.0.1", free_port()))


async def test_killed_with_a_supervised_target_it_leaves_nothing_in_doubt(processes: Processes, tmp_path: Path) -> None:
    """Rules 1 and 2: the target dies with us, and the next one holds what the log holds."""
    target, interceptor = Server("127.0.0.1", free_port()), somewhere()
    command = run_command(target, interceptor, tmp_path / "log", *counter_command(target.port))
    interceptor.process, _ = processes.start(command, name="interceptor")
    await until_active(interceptor)
    clients = Clients(interceptor, 10)
    for _ in range(3):
        await clients.acknowledged(100)
        interceptor.process.kill()
        await asyncio.to_thread(interceptor.process.wait)
        await asyncio.to_thread(wait_until, lambda: not accepts(target.host, target.port), "the target's end")
        interceptor.process, _ = processes.start(command, name="interceptor")
        await until_active(interceptor)
        assert interceptor.state()["uncertain"] is None
    seen = await clients.finish()
    assert seen.refused == []
    check_exact(applied(target), seen.acknowledged)


def test_killed_during_a_recovery_it_does_not_begin_again_with_a_target_that_holds_a_part(
    processes: Processes, tmp_path: Path
) -> None:
    """Rule 3: delivered once to each incarnation; what can't be known is asked."""
    target, interceptor = Server("127.0.0.1", free_port()), somewhere()

    def start_target() -> None:
        target.process, _ = processes.start([PYTHON, "-c", SLOW, str(target.port)], name="target")
        wait_until(lambda: accepts(target.host, target.port), "the target")

    def applied_by_target() -> list[str]:
        with urllib.request.urlopen(f"{target.url}/", timeout=10.0) as answer:
            return str(answer.read().decode()).split()

    start_target()
    command = run_command(target, interceptor, tmp_path / "log")
    interceptor.process, _ = processes.start(command, name="interceptor")
    wait_until(interceptor.is_active, "the first life")
    wanted = [f"/{number}" for number in range(40)]
    for path in wanted:
        urllib.request.urlopen(f"{interceptor.url}{path}", data=b"", timeout=10.0).close()
    assert target.process is not None
    target.process.kill()
    target.process.wait()
    start_target()
    wait_until(lambda: 0 < len(applied_by_target()) < len(wanted), "the middle of the recovery")
    interceptor.process.kill()
    interceptor.process.wait()
    interceptor.process, _ = processes.start(command, name="interceptor")
    wait_until(lambda: accepts(interceptor.host, interceptor.port) and interceptor.state()["problem"], "the question")
    assert "stopped while the log was projected into this target" in interceptor.state()["problem"]
    partly = applied_by_target()
    assert partly == wanted[: len(partly)], "nothing is delivered again"

    target.process.kill()
    target.process.wait()
    start_target()
    wait_until(interceptor.is_active, "the next incarnation")
    assert applied_by_target() == wanted
