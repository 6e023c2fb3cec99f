"""The proxies that the cases go through: ours, and nginx and HAProxy as Debian ships them."""

from __future__ import annotations

from pathlib import Path

from support import Processes, Server, accepts, start_interceptor_process, wait_until

from bench.processes import free_port
from bench.subjects import proxy_command

OURS = {"recorded": [], "bypassed": ["--bypass", "*:/*"]}
OTHERS = ["nginx", "haproxy"]


def start_ours(processes: Processes, target: Server, way: str) -> Server:
    return start_interceptor_process(processes, target, *OURS[way])


def start_other(processes: Processes, target: Server, name: str, directory: Path) -> Server:
    """Start nginx or HAProxy as the measurements do, but let nginx answer a client that has ended its sending side."""
    proxy = Server("127.0.0.1", free_port())
    command = proxy_command(name, target.port, proxy.port, directory)
    configuration = directory / "nginx.conf"
    if name == "nginx":
        text = configuration.read_text()
        configuration.write_text(text.replace("proxy_pass ", "proxy_ignore_client_abort on;\n      proxy_pass "))
    process, output = processes.start(command, name=name)

    def listens() -> bool:
        assert process.poll() is None, output.read_text()
        return accepts(proxy.host, proxy.port)

    wait_until(listens, f"{name} on {proxy.authority}")
    return proxy
