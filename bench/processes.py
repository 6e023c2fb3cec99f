"""Child processes and what the kernel says of them: CPU time, resident memory, listening ports. Linux only."""

import os
import random
import select
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.005

PORTS = range(10_000, 32_768)

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_LISTEN = "0A"
# Where `python -m bench…` and `python -m interceptor` find their packages, installed or not.
ROOT = Path(__file__).resolve().parents[1]


class ProcessError(Exception):
    """A child did not start or ended by itself; says which command, how it ended and its last words."""


class Child:
    """A process that this one started and ends, by pid, when the `with` block is left, however it is left."""

    def __init__(self, command: list[str], output: Path) -> None:
        """Start `command`; its output and errors go to the file `output`. Raises ProcessError."""
        self.command = command
        self._output = output
        try:
            with output.open("ab") as stream:
                # A session of its own keeps a Ctrl-C in the terminal from ending it before it was measured.
                self._process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                )
        except OSError as error:
            raise ProcessError(f"{command[0]} can't be started: {error}") from error
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def wait_until_listening(self, port: int, timeout_s: float = 10.0) -> None:
        """Return once the port has a listening socket. Raises ProcessError if the child ends, or at the timeout."""
        deadline = time.monotonic() + timeout_s
        while not is_listening(port):
            self.check_alive()
            if time.monotonic() > deadline:
                raise ProcessError(f"{self} does not listen on port {port} after {timeout_s:g} s: {self._last_words()}")
            time.sleep(POLL_INTERVAL_S)

    def check_alive(self) -> None:
        """Raises ProcessError if the child has ended."""
        if self._process.poll() is not None:
            raise ProcessError(f"{self} ended with {self._process.returncode}: {self._last_words()}")

    def wait(self, timeout_s: float) -> int:
        """The exit status, once the process has ended by itself. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def terminate(self) -> None:
        """Ask the process to end; `wait` for it."""
        self._process.terminate()

    def kill(self) -> None:
        """End the process at once, as a crash would, and collect it."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the process and its descendants and wait until they are gone: SIGTERM first, SIGKILL for the rest."""
        with ExitStack() as stack:
            # A pidfd names one process for good; a pid may be another's by the time of the second signal.
            descendants = [_open_pidfd(pid, stack) for pid in process_tree(self.pid)[1:]]
            if self._process.poll() is None:
                self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
            for pidfd in descendants:
                if pidfd is not None:
                    _end_remaining(pidfd)

    def __str__(self) -> str:
        return " ".join(self.command)

    def _last_words(self) -> str:
        return self._output.read_text(errors="replace")[-1000:].strip() or "(no output)"


def _open_pidfd(pid: int, stack: ExitStack) -> int | None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    stack.callback(os.close, pidfd)
    return pidfd


def _end_remaining(pidfd: int) -> None:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    if not poller.poll(0):
        # ProcessLookupError: it ended by itself between the two calls.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poller.poll(STOP_TIMEOUT_S * 1000)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at `host`; not one of those that the kernel gives to outgoing connections."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Not the generator that a seed belongs to.
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket(family) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return port
    raise RuntimeError(f"no port of {PORTS.start} to {PORTS.stop - 1} is free on {host}")


def is_listening(port: int) -> bool:
    """Whether a TCP port has a listening socket; read from the kernel's table, no connection is made."""
    suffix = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            _, local, _, state, *_ = line.split(maxsplit=4)
            if state == _LISTEN and local.endswith(suffix):
                return True
    return False


def parse_stat(stat: str) -> tuple[int, int]:
    """Parent pid and CPU ticks (user and system) out of a line of /proc/PID/stat."""
    # The second field is the name in parentheses, and a name may hold spaces and parentheses.
    fields = stat[stat.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[11]) + int(fields[12])


def process_tree(pid: int) -> list[int]:
    """The process and its living descendants, parents first; empty if it is gone."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _read(entry / "stat")) is not None:
            children.setdefault(parse_stat(stat)[0], []).append(int(entry.name))
    if _read(Path(f"/proc/{pid}/stat")) is None:
        return []
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, ()))
    return tree


def cpu_s(pid: int) -> float:
    """CPU seconds that a process and its living descendants have used, user and system together."""
    stats = (_read(Path(f"/proc/{member}/stat")) for member in process_tree(pid))
    return sum(parse_stat(stat)[1] for stat in stats if stat is not None) * _TICK_S


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and its living descendants; pages that they share count once for each."""
    statm = (_read(Path(f"/proc/{member}/statm")) for member in process_tree(pid))
    return sum(int(text.split()[1]) for text in statm if text is not None) * os.sysconf("SC_PAGE_SIZE")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
