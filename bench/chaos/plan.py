"""From a seed to a run: which target, how it is looked after, and which log.  The same seed gives the same plan."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.chaos.target.application import UNRECORDED_MARK
from bench.chaos.target.kinds import KINDS, TargetKind

HOLD_S = 25.0
SHORT_HOLD_S = 1.0
LANES = 4
VARIANT_SHARE = 0.3
SEEDED_VARIANTS = ("lanes", "checkpoints", "reads")
# A server of its own takes seconds to start: only where it is asked for.
VARIANTS = ("plain", *SEEDED_VARIANTS, "postgres")


@dataclass(frozen=True)
class Plan:
    """One run: a log, an interceptor, a kind of target, and faults in a row."""

    seed: int
    kind: TargetKind
    supervised: bool
    wait_on_unclean: bool
    short_hold: bool
    small_disk: bool
    ready_path: bool
    failures: int
    only: tuple[str, ...]
    keyed: bool = False
    """Order within each key, down several lanes."""
    checkpoints: bool = False
    """The target's state is taken each second and every few events, and a recovery begins there."""
    unrecorded_reads: bool = False
    """Reads go past the log (--record unsafe)."""
    postgres: bool = False
    """The log is in a database, which is frozen and crashes."""
    clients: int = 10

    @property
    def hold_s(self) -> float:
        """The hold window; a short one where a failure is meant to outlast it."""
        return SHORT_HOLD_S if self.short_hold else HOLD_S

    @property
    def chance(self) -> random.Random:
        """The run's own source of chance."""
        return random.Random(f"run {self.seed}")

    @property
    def read_mark(self) -> str:
        """What tells the application that a read is no event."""
        return UNRECORDED_MARK if self.unrecorded_reads else ""

    def describe(self) -> str:
        """Say it in one line."""
        words = [self.kind.name, "supervised" if self.supervised else "restarted from outside"]
        if not self.supervised:
            words.append("on-unclean wait" if self.wait_on_unclean else "on-unclean assume-applied")
        words += ["--ready-path"] * self.ready_path
        words += [f"order by key, {LANES} lanes"] * self.keyed + ["checkpoints"] * self.checkpoints
        words += ["reads past the log"] * self.unrecorded_reads + ["PostgreSQL"] * self.postgres
        words += ["1 s hold window"] * self.short_hold + ["small disk"] * self.small_disk
        return ", ".join(words)


def make_plan(
    seed: int, failures: int, kinds: Sequence[str], only: Sequence[str], variants: Sequence[str] = ()
) -> Plan:
    """Choose from the seed, among the kinds of targets that were asked for; `variants` stand instead of its choice."""
    chance = random.Random(f"plan {seed}")
    kind = KINDS[chance.choice(sorted(kinds or KINDS))]
    supervised = chance.random() < 0.5 and not kind.prefork
    wait = chance.random() < 0.4
    short_hold = chance.random() < 0.15 or tuple(only) == ("outage",)
    small_disk = chance.random() < 0.15 or tuple(only) == ("log-full",)
    ready_path = (chance.random() < 0.3 or tuple(only) == ("warm-up",)) and not kind.prefork
    chosen = variants or [name for name in SEEDED_VARIANTS if chance.random() < VARIANT_SHARE]
    return Plan(
        seed,
        kind,
        supervised,
        wait,
        short_hold,
        small_disk and "postgres" not in chosen,
        ready_path,
        failures,
        tuple(only),
        "lanes" in chosen,
        "checkpoints" in chosen,
        "reads" in chosen,
        "postgres" in chosen,
    )
