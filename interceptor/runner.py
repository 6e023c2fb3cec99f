"""One process: the ambassador and its admin server, from start to signal to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import uvloop

from interceptor.admin.server import AdminServer
from interceptor.ambassador import Ambassador
from interceptor.settings import Settings
from interceptor.stop_deadline import ended_after, longest_stop_s

FORWARDED_SIGNALS = (signal.SIGHUP, signal.SIGUSR2, signal.SIGWINCH)


def run(settings: Settings, on_started: Callable[[Ambassador, AdminServer], None] | None = None) -> None:
    """Run until SIGTERM or SIGINT.  Raises the errors of a start that fails; nothing is left running then."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, on_started))


async def serve(settings: Settings, on_started: Callable[[Ambassador, AdminServer], None] | None = None) -> None:
    """Run in the present loop until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ambassador = await Ambassador.open(settings, stop)
    admin = AdminServer(ambassador)
    try:
        await admin.start()
        await ambassador.start()
        if ambassador.supervisor is not None:
            for number in FORWARDED_SIGNALS:
                loop.add_signal_handler(number, ambassador.supervisor.send_signal, number)
        loop.add_signal_handler(signal.SIGUSR1, ambassador.checkpoints.request)
        if on_started is not None:
            on_started(ambassador, admin)
        await stop.wait()
    finally:
        with ended_after(longest_stop_s(settings.limits, with_checkpoint=settings.checkpoint.on_stop)):
            await ambassador.stop()
            await admin.stop()
