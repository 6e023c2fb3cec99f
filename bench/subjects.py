"""The subjects of a measurement: how each proxy is started in front of a target of its own."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.database import database_url
from bench.peers import aiohttp_command, envoy_command, haproxy_command, nginx_command
from bench.processes import Child, free_port

DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Running:
    """A subject that accepts requests on `port`; there is no proxy where the load goes straight to the target."""

    name: str
    port: int
    target_port: int
    proxy: Child | None
    target: Child


def counter_command(port: int) -> list[str]:
    """The example application as the target."""
    return [sys.executable, "-m", "bench.counter", "--port", str(port)]


def interceptor_command(target_port: int, listen_port: int, admin_port: int, log: str, durability: str) -> list[str]:
    """The interceptor in front of a target that it does not supervise. `log` is the log's URL."""
    command = [sys.executable, "-m", "interceptor", "run", "--target", f"http://127.0.0.1:{target_port}"]
    command += ["--listen", f"127.0.0.1:{listen_port}", "--admin", f"127.0.0.1:{admin_port}"]
    return [*command, "--log", log, "--durability", durability]


def _interceptor(backend: str, durability: str) -> Callable[[int, int, Path], list[str]]:
    def command(target_port: int, listen_port: int, directory: Path) -> list[str]:
        logs = {"memory": "memory://", "file": f"file://{directory}/log"}
        log = logs.get(backend) or database_url(directory.parents[1], f"{directory.name}-{uuid4().hex}")
        return interceptor_command(target_port, listen_port, free_port(), log, durability)

    return command


def _floor(shape: str) -> Callable[[int, int, Path], list[str]]:
    def command(target_port: int, listen_port: int, _directory: Path) -> list[str]:
        ports = ["--port", str(listen_port), "--target-port", str(target_port)]
        return [sys.executable, "-m", "bench.floor", *ports, "--shape", shape]

    return command


_PROXIES: dict[str, Callable[[int, int, Path], list[str]]] = {
    "nginx": nginx_command,
    "haproxy": haproxy_command,
    "interceptor-memory": _interceptor("memory", "relaxed"),
    "interceptor-file-relaxed": _interceptor("file", "relaxed"),
    "interceptor-file-strict": _interceptor("file", "strict"),
}
# They need packages that the others do not, or answer another question.
_MORE = {
    "envoy": envoy_command,
    "aiohttp": aiohttp_command,
    "floor": _floor("lane"),
    "tunnel": _floor("tunnel"),
    "interceptor-postgresql-relaxed": _interceptor("postgresql", "relaxed"),
    "interceptor-postgresql-strict": _interceptor("postgresql", "strict"),
}

USUAL_SUBJECTS: tuple[str, ...] = (DIRECT, *_PROXIES)
SUBJECTS: tuple[str, ...] = (*USUAL_SUBJECTS, *_MORE)


def proxy_command(name: str, target_port: int, listen_port: int, directory: Path) -> list[str]:
    """The command of a proxy by its name; its configuration and its log, where it has them, go to `directory`."""
    return (_PROXIES | _MORE)[name](target_port, listen_port, directory)


def start_subject(name: str, directory: Path, stack: ExitStack) -> Running:
    """Start a subject and a target of its own on free ports; `stack` ends them. Raises ProcessError."""
    directory.mkdir(parents=True)
    target_port = free_port()
    target = stack.enter_context(Child(counter_command(target_port), directory / "target.out"))
    target.wait_until_listening(target_port)
    if name == DIRECT:
        return Running(name, target_port, target_port, None, target)
    port = free_port()
    proxy = stack.enter_context(Child(proxy_command(name, target_port, port, directory), directory / "proxy.out"))
    proxy.wait_until_listening(port)
    return Running(name, port, target_port, proxy, target)
