"""What the tests of the durable logs share: a command that is killed and started again, replays, refusals."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path

from counting import Clients, applied, digest_of, start_counter
from support import PYTHON, ROOT, Processes, RunningInterceptor, Server, Wire, wait_until
from test_kills import check_exact

from bench.processes import free_port


class Restartable(RunningInterceptor):
    """An interceptor that keeps its ports and options over its deaths."""

    def __init__(self, processes: Processes, target: Server, *options: str) -> None:
        super().__init__("127.0.0.1", free_port(), admin=Server("127.0.0.1", free_port()))
        self._processes = processes
        self.command = run_command(target, self, *options)

    async def start(self) -> None:
        """Start; returns once it is Active."""
        self.process, self.output = self._processes.start(self.command, name="interceptor")
        await asyncio.to_thread(wait_until, self._alive_and_active, "Active")

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send the signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 30)

    async def until(self, what: str, **wanted: object) -> None:
        """Return when `GET /state` shows something that is true or equal to what is wanted, for each name."""

        def shown() -> bool:
            state = self.state()
            return all(state[name] == value if value is not True else state[name] for name, value in wanted.items())

        await asyncio.to_thread(wait_until, shown, what)

    def said(self) -> str:
        assert self.output is not None
        return self.output.read_text()

    def _alive_and_active(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        return self.is_active()


async def until_everybody_waits(interceptor: Restartable, clients: int) -> None:
    """Return when each client has a request that is held, or whose event waits for the log."""

    def waiting() -> bool:
        state = interceptor.state()
        return bool(state["held"] + state["versions"]["delivered"] - state["versions"]["durable"] == clients)

    await asyncio.to_thread(wait_until, waiting, "everybody waits")


def run_command(target: Server, served: RunningInterceptor, *options: str) -> list[str]:
    return [
        PYTHON, "-m", "interceptor", "run", "--target", target.url, "--listen", served.authority,
        "--admin", served.admin_url.removeprefix("http://"), *options,
    ]  # fmt: skip


async def replayed(processes: Processes, interceptor: RunningInterceptor) -> tuple[list[str], str, str]:
    """Replay the log into a fresh counter; return what that has applied, its digest, and what the command printed."""
    copy = await asyncio.to_thread(start_counter, processes)
    admin = interceptor.admin_url.removeprefix("http://")
    done = await asyncio.to_thread(
        subprocess.run, [PYTHON, "-m", "interceptor", "reproject", "--target", copy.url, "--admin", admin],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return applied(copy), digest_of(copy), done.stdout


async def check_end(processes: Processes, interceptor: Restartable, target: Server, clients: Clients) -> None:
    """Nobody was refused or cut; target, replay and what was acknowledged are the same."""
    seen = await clients.finish()
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], [])
    operations = applied(target)
    check_exact(operations, seen.acknowledged)
    assert sorted(operations) == sorted(seen.acknowledged)
    copied, digest, printed = await replayed(processes, interceptor)
    assert (copied, digest) == (operations, digest_of(target))
    assert "0 diverged" in printed
    versions = interceptor.state()["versions"]
    assert versions["last"] == versions["durable"] == len(operations)
    assert "Traceback" not in interceptor.said()


def post(server: Server, operation: str) -> tuple[int, list[bytes], bytes]:
    """Send one operation; return the status, the values of Retry-After and the content."""
    request = f"POST /counters/client{operation.partition('-')[0]}?op={operation} HTTP/1.1\r\nHost: x\r\n"
    with Wire(server) as wire:
        answer = wire.ask(f"{request}Content-Length: 0\r\n\r\n".encode())
        return answer.status, answer.values(b"Retry-After"), answer.content


async def refusal_to_start(target: Server, *options: str) -> str:
    """Start an interceptor that must refuse; return its one sentence."""
    served = RunningInterceptor("127.0.0.1", free_port(), admin=Server("127.0.0.1", free_port()))
    done = await asyncio.to_thread(
        subprocess.run, run_command(target, served, *options),
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("interceptor: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def contents(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Return all that is in a directory, to compare it later; who tried last to be the writer is left out."""
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(directory.rglob("*"))
        if path.name != "LOCK"
    }
