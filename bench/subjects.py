"""The subjects of a measurement: how each proxy is started in front of a target.

Every proxy does the same work: HTTP/1.1 both ways, kept-alive upstream connections, X-Forwarded-For added, no
access log, one worker.
"""

import os
import pwd
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.database import database_url
from bench.processes import Child, free_port

DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Running:
    """A subject that accepts requests on `port`; there is no proxy where the load goes straight to the target."""

    name: str
    port: int
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


def _nginx(target_port: int, listen_port: int, directory: Path) -> list[str]:
    temporary = "".join(
        f"  {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started as root, the worker would change to a user who can't write to the directory.
    user = f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"""{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 100000000;
{temporary}  upstream target {{
    server 127.0.0.1:{target_port};
    keepalive 256;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{listen_port} backlog=1024;
    location / {{
      proxy_pass http://target;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""
    )
    return ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(configuration)]


def _haproxy(target_port: int, listen_port: int, directory: Path) -> list[str]:
    configuration = directory / "haproxy.cfg"
    configuration.write_text(
        f"""global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
frontend front
  bind 127.0.0.1:{listen_port} backlog 1024
  default_backend target
backend target
  server target 127.0.0.1:{target_port}
"""
    )
    return ["haproxy", "-db", "-f", str(configuration)]


def _interceptor(backend: str, durability: str) -> Callable[[int, int, Path], list[str]]:
    def command(target_port: int, listen_port: int, directory: Path) -> list[str]:
        logs = {"memory": "memory://", "file": f"file://{directory}/log"}
        log = logs.get(backend) or database_url(directory.parents[1], directory.name)
        return interceptor_command(target_port, listen_port, free_port(), log, durability)

    return command


_PROXIES: dict[str, Callable[[int, int, Path], list[str]]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "interceptor-memory": _interceptor("memory", "relaxed"),
    "interceptor-file-relaxed": _interceptor("file", "relaxed"),
    "interceptor-file-strict": _interceptor("file", "strict"),
}
# They need a package that the others do not.
_WITH_DATABASE = {
    "interceptor-postgresql-relaxed": _interceptor("postgresql", "relaxed"),
    "interceptor-postgresql-strict": _interceptor("postgresql", "strict"),
}

USUAL_SUBJECTS: tuple[str, ...] = (DIRECT, *_PROXIES)
SUBJECTS: tuple[str, ...] = (*USUAL_SUBJECTS, *_WITH_DATABASE)


def proxy_command(name: str, target_port: int, listen_port: int, directory: Path) -> list[str]:
    """The command of a proxy by its name; its configuration and its log, where it has them, go to `directory`."""
    return (_PROXIES | _WITH_DATABASE)[name](target_port, listen_port, directory)


def start_subject(name: str, directory: Path, stack: ExitStack) -> Running:
    """Start a subject and a target of its own on free ports; `stack` ends them. Raises ProcessError."""
    directory.mkdir(parents=True)
    target_port = free_port()
    target = stack.enter_context(Child(counter_command(target_port), directory / "target.out"))
    target.wait_until_listening(target_port)
    if name == DIRECT:
        return Running(name, target_port, None, target)
    port = free_port()
    proxy = stack.enter_context(Child(proxy_command(name, target_port, port, directory), directory / "proxy.out"))
    proxy.wait_until_listening(port)
    return Running(name, port, proxy, target)
