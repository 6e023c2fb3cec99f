"""The demonstration from beginning to end."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from interceptor.demo.account import Evidence, findings
from interceptor.demo.connection import HOST
from interceptor.demo.errors import DemoError, RequestFailedError
from interceptor.demo.killer import Killer
from interceptor.demo.screen import Screen, bars
from interceptor.demo.stage import Stage
from interceptor.demo.table import NOTES, duration, print_head, print_kill
from interceptor.demo.traffic import Traffic

# Traffic before the first kill and after the last.
CALM_S = 2.0
REDRAW_S = 0.1
BARS = 24


@dataclass(frozen=True)
class Script:
    """What the options say.  `rate`: requests a second of all clients; without `log_url` a fresh file log."""

    kills: int
    clients: int
    rate: float
    seconds_between_kills: float
    log_url: str | None
    seed: int


async def play(script: Script, screen: Screen) -> bool:
    """Show it; return whether nothing was lost or doubled.  Raises DemoError where it could not be carried through."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    directory = Path(tempfile.mkdtemp(prefix="interceptor-demo-"))
    chance = random.Random(script.seed)
    stage = Stage(directory, script.log_url or f"file://{directory}/log", chance)
    keep = False
    try:
        good = await _Play(script, screen, stage, chance).run()
        keep = not good
    except (DemoError, RequestFailedError) as error:
        keep = stage.started
        stage.ensure_alive()
        raise DemoError(str(error)) from error
    finally:
        try:
            await stage.stop()
        finally:
            stage.kill()
            if keep:
                screen.line(f"  The log and what the processes said are kept in {directory}")
            else:
                shutil.rmtree(directory, ignore_errors=True)
    return good


class _Play:
    def __init__(self, script: Script, screen: Screen, stage: Stage, chance: random.Random) -> None:
        self._script = script
        self._screen = screen
        self._stage = stage
        self._random = chance
        self._traffic = Traffic(stage.port, script.clients, script.rate, script.seed)
        self._began_s = monotonic()

    async def run(self) -> bool:
        await self._stage.start()
        self._introduce()
        self._began_s = monotonic()
        self._traffic.start()
        killer = Killer(self._stage, self._traffic, self._random)
        drawing = asyncio.create_task(self._draw(killer))
        try:
            await self._kill_all(killer)
            await self._traffic.finish()
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
            self._screen.clear()
            await self._traffic.abandon()
        return self._conclude(await self._gather_evidence(killer))

    def _introduce(self) -> None:
        script, screen, stage = self._script, self._screen, self._stage
        screen.line()
        screen.line(
            screen.styled("  interceptor demo", "bold cyan")
            + "   an application that lives in memory only is killed; its clients must not notice"
        )
        screen.line()
        for name, text in (
            ("application", f"{HOST}:{stage.application_port}  counters, in the memory of one process only"),
            ("interceptor", f"{HOST}:{stage.port}  before it, starts it and records what it is sent"),
            ("log", f"{'a fresh file log' if script.log_url is None else script.log_url}, durability strict"),
            ("clients", f"{script.clients}, up to {script.rate:,.0f} requests/s; each checks all that it is told"),
            ("kill -9", f"{script.kills} times, at random moments (seed {script.seed})"),
        ):
            screen.line(f"  {screen.styled(f'{name:<12}', 'dim')} {text}")
        screen.line()
        print_head(screen)

    async def _kill_all(self, killer: Killer) -> None:
        script = self._script
        await asyncio.sleep(CALM_S)
        while (done := len(killer.kills)) < script.kills:
            pause_s = script.seconds_between_kills
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * pause_s if done else 0)
            # In the second half, when the log is long enough for a replay to be caught in its middle.
            twice = not killer.caught_a_recovery and script.kills // 2 <= done < script.kills - 1
            for kill in await killer.strike(twice=twice):
                print_kill(self._screen, kill)
        await asyncio.sleep(CALM_S)

    async def _gather_evidence(self, killer: Killer) -> Evidence:
        return Evidence(
            tally=self._traffic.tally,
            kills=killer.kills,
            journal=await self._stage.ask_application("/journal"),
            values=(await self._stage.ask_application("/?full=1"))["values"],
            metrics=await self._stage.metrics(),
        )

    def _conclude(self, evidence: Evidence) -> bool:
        screen = self._screen
        for note in NOTES:
            screen.line("  " + screen.styled(note, "dim"))
        good = True
        for heading, lines in findings(evidence).items():
            screen.line()
            screen.line("  " + screen.styled(heading, "bold"))
            for finding in lines:
                good = good and finding.good
                screen.line(f"   {screen.mark(finding.good)} {finding.text}")
        seconds = monotonic() - self._began_s
        screen.line()
        verdict = "Nothing lost, nothing doubled" if good else "A promise was broken"
        screen.line("  " + screen.styled(f"{verdict}, in {seconds:.1f} s.", "bold green" if good else "bold red"))
        screen.line()
        return good

    async def _draw(self, killer: Killer) -> None:
        """Redraw the living line; the bars are requests answered in each tenth of a second."""
        tally, screen = self._traffic.tally, self._screen
        answered: deque[int] = deque([0] * BARS, BARS)
        before = 0
        while screen.live:
            answered.append(tally.answered - before)
            before = tally.answered
            errors = len(tally.errors) + len(tally.wrong_reads)
            serving = killer.phase == "serving"
            screen.status(
                (f"  {monotonic() - self._began_s:4.1f} s ", "dim"),
                (bars(list(answered)), "green" if serving else "yellow"),
                (f" {tally.answered:,} answered, ", ""),
                (f"{errors} errors", "bold red" if errors else ""),
                (f", slowest {duration(tally.slowest_s)}  ", ""),
                (killer.phase, "dim" if serving else "yellow"),
            )
            await asyncio.sleep(REDRAW_S)
