"""`interceptor-controller`: options, login, one controller at a time, metrics."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import click
import kopf
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from controller.api import Login
from controller.config import Config
from controller.controller import Controller, kopf_settings
from controller.lease import Lease, LeaseLostError
from controller.metrics import Metrics

logger = logging.getLogger(__name__)

KEY_BYTES_MIN = 16
SIGNALS = (signal.SIGTERM, signal.SIGINT)
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "INTERCEPTOR_CONTROLLER"})
@click.option("--sidecar-image", required=True, help="Image of the sidecar, where crsc.io/image names no other.")
@click.option(
    "--key-file", required=True, type=click.Path(path_type=Path), help="What the sidecars' tokens are computed from."
)
@click.option("--namespace", "namespaces", multiple=True, help="Only there; may be repeated. Default: everywhere.")
@click.option("--metrics", "metrics_address", default="0.0.0.0:8080", help="Where /metrics and /healthz are served.")
@click.option(
    "--unready-max-s", default=30.0, type=click.FloatRange(min=0), help="A container not ready for longer has failed."
)
@click.option("--lease/--no-lease", default=True, help="Let one controller work at a time.")
@click.option("--lease-namespace", help="Where the Lease is. Default: the controller's own namespace.")
@click.option("--lease-name", default="interceptor-controller", help="Controllers of one name take turns.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def main(
    sidecar_image: str, key_file: Path, namespaces: tuple[str, ...], metrics_address: str, unready_max_s: float,
    lease: bool, lease_namespace: str | None, lease_name: str, log_level: str,
) -> None:  # fmt: skip
    """Give annotated Deployments and StatefulSets the sidecar, and see to it that it is told what Kubernetes knows."""
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    config = Config(sidecar_image, read_key(key_file), namespaces, unready_max_s)
    where = (lease_namespace or own_namespace(), lease_name) if lease else None
    try:
        asyncio.run(run(config, log_in, parse_address(metrics_address), where))
    except* (LeaseLostError, OSError, kopf.LoginError) as errors:
        raise click.ClickException(str(_first_cause(errors))) from None


async def run(
    config: Config, login: Login, metrics_address: tuple[str, int] | None, lease: tuple[str, str] | None
) -> None:
    """Run until SIGTERM or SIGINT.  `lease`: its namespace and name.  Raises LeaseLostError (in a group)."""
    metrics = Metrics()
    async with aiohttp.ClientSession() as session:
        controller = Controller(config, login, session, metrics)
        runner = await serve_metrics(metrics, metrics_address) if metrics_address else None
        try:
            await _work(config, controller, lease)
        finally:
            await controller.api.close()
            if runner is not None:
                await runner.cleanup()


async def _work(config: Config, controller: Controller, where: tuple[str, str] | None) -> None:
    stop = asyncio.Event()
    if where is None:
        await _lead(config, controller, stop, None)
        return
    lease = Lease(controller.api, *where, own_name())
    controller.api.may_write = lease.is_held
    try:
        with _signals_set(stop):
            await _first_of(lease.acquire(), stop.wait())
        if not stop.is_set():
            await _lead(config, controller, stop, lease)
    finally:
        await lease.release()


async def _lead(config: Config, controller: Controller, stop: asyncio.Event, lease: Lease | None) -> None:
    """Work until stopped, give the Lease back, and only then end kopf.

    It takes its time, and whatever task of the process it did not find at its start it takes for one of its own: it
    waits for them, and cancels them after 5 s.  So ours have to be done by then.
    """
    end_kopf = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        kopf_at_work = group.create_task(operate(config, controller, stop, end_kopf))
        kopf_at_work.add_done_callback(lambda _: stop.set())
        async with asyncio.TaskGroup() as ours:
            tasks = [ours.create_task(controller.work())]
            if lease is not None:
                tasks.append(ours.create_task(lease.renew()))
            await stop.wait()
            for task in tasks:
                task.cancel()
        if lease is not None:
            await lease.release()
        end_kopf.set()


async def _first_of(*waiting: Coroutine[Any, Any, object]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in waiting]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


@contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def operate(config: Config, controller: Controller, stop: asyncio.Event, end_kopf: asyncio.Event) -> None:
    """Run kopf until `end_kopf`; SIGTERM and SIGINT set `stop`."""
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        # Its own choice asks for the user's name, and that of the image's user is in no file.
        identity=own_name(),  # type: ignore[arg-type]  # a string, of a type that kopf keeps to itself
        registry=controller.registry,
        settings=kopf_settings(),
        standalone=True,
        clusterwide=not config.namespaces,
        namespaces=config.namespaces,
        stop_flag=end_kopf,
    )
    # kopf has taken the signals, and would end before the Lease is given back.
    with _signals_set(stop):
        await kopf.run_tasks(tasks, ignored=others)


async def serve_metrics(metrics: Metrics, address: tuple[str, int]) -> web.AppRunner:
    """Serve /metrics and /healthz; the caller cleans up."""

    async def show(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application()
    app.router.add_get("/metrics", show)
    app.router.add_get("/healthz", healthy)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, *address).start()
    return runner


def log_in() -> kopf.ConnectionInfo:
    """Return how to reach the API server: as the Pod's service account, or as ~/.kube/config says."""
    settings = kopf.OperatorSettings()
    info = kopf.login_with_service_account(settings=settings)
    if info is not None:
        return replace(info, server=in_cluster_server() or info.server)
    info = kopf.login_with_kubeconfig(settings=settings)
    if info is None:
        raise kopf.LoginError("neither a service account nor a kubeconfig tells where the API server is")
    return info


def in_cluster_server() -> str | None:
    """Return the API server's address as the kubelet gives it to each container.

    As Kubernetes' own clients do it: by its name (kopf's way) it would be out of reach while the cluster's DNS is.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        return None
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _first_cause(errors: BaseException) -> BaseException:
    """Return the error itself: each task group on its way has put it into a group."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


def read_key(path: Path) -> bytes:
    """Return the key.  Raises click.BadParameter where it is none."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise click.BadParameter(f"--key-file {path}: {error.strerror}") from error
    if len(key) < KEY_BYTES_MIN:
        raise click.BadParameter(f"--key-file {path}: {len(key)} bytes; write at least {KEY_BYTES_MIN} random ones")
    return key


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port.  Raises click.BadParameter."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise click.BadParameter(f"--metrics {text}: expected HOST:PORT")
    return host.strip("[]"), int(port)


def own_name() -> str:
    """Return what tells this controller from others."""
    return f"{socket.gethostname()}_{os.getpid()}"


def own_namespace() -> str:
    """Return the namespace of the controller's Pod."""
    try:
        return NAMESPACE_FILE.read_text().strip()
    except OSError:
        raise click.BadParameter("--lease-namespace is needed outside of a Pod (or --no-lease)") from None


if __name__ == "__main__":
    main()
