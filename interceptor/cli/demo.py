"""`interceptor demo`: options, and what to do next."""

from __future__ import annotations

import asyncio
import os
import random
import sys

import click
import uvloop

from interceptor.demo.play import Script, play
from interceptor.demo.screen import Screen

NEXT = (
    "interceptor run --target http://127.0.0.1:8000 -- YOUR COMMAND   # your application, now on :8001",
    "interceptor state                                                # what it is doing; then kill -9 it yourself",
)


@click.command("demo", context_settings={"show_default": True})
@click.option("--kills", type=click.IntRange(min=1), default=6, help="How often the application is killed.")
@click.option("--clients", type=click.IntRange(min=1, max=1_000), default=20, help="Clients at the same time.")
@click.option("--rate", type=click.FloatRange(min=1), default=800.0, help="Requests a second, of all clients.")
@click.option("--seconds-between-kills", type=click.FloatRange(min=0), default=3.5, help="On average.")
@click.option("--log", "log_url", help="An empty log. Default: a file log in a fresh temporary directory.")
@click.option("--seed", type=int, help="For the moments and the requests. Default: another one each time.")
def demo_command(
    kills: int, clients: int, rate: float, seconds_between_kills: float, log_url: str | None, seed: int | None
) -> None:
    """Kill -9 in front of your eyes: nothing lost.

    Starts a small application that keeps its state in memory only, sends it traffic through the interceptor, kills it
    again and again, and compares what the clients were told with what the application holds. The exit code is 1 if
    anything was lost, doubled or answered with an error.
    """
    chosen = random.randrange(100_000) if seed is None else seed
    script = Script(kills, clients, rate, seconds_between_kills, log_url, chosen)
    screen = Screen()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            good = runner.run(play(script, screen))
        if good:
            screen.line("  Try next:")
            for line in NEXT:
                screen.line(f"    {line}")
    except asyncio.CancelledError:
        raise click.Abort from None
    except BrokenPipeError:
        # Whoever read us has gone; the interpreter would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0 if good else 1)
