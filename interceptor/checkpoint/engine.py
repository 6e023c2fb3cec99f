"""The protocol between the interceptor and whatever can keep a target's state.

An engine is chosen by `--checkpoint-engine NAME`.  Third parties register a function in the entry-point group
`interceptor.checkpoint_engines` that takes an EngineContext and returns an engine.  All methods run in the event
loop: what blocks belongs into a thread or another process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from interceptor.address import TargetAddress
from interceptor.checkpoint.artefacts import Artefacts, Draft
from interceptor.checkpoint.blackout import Blackout
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.options import CheckpointOptions
from interceptor.counters import Counters
from interceptor.limits import Limits
from interceptor.target.supervisor import Supervisor
from storage_backends.backend import Fact


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What an engine is made with.  `supervisor` is None where something else starts the target."""

    target: TargetAddress
    options: CheckpointOptions
    limits: Limits
    artefacts: Artefacts
    counters: Counters
    supervisor: Supervisor | None


@dataclass(frozen=True, slots=True)
class Captured:
    """What the catalogue is to keep beside the artefact: a reference to an image, and the engine's own facts.

    `uncompressed_bytes` among them is the size of the state where the artefact is smaller: it tells how long a restore
    takes.
    """

    image: str | None = None
    detail: Mapping[str, Fact] = field(default_factory=dict)


Finish: TypeAlias = Callable[[], Awaitable[Captured]]


class CheckpointEngine(Protocol):
    """Takes a target's state and gives it to another incarnation."""

    @property
    def name(self) -> str:
        """The word in `--checkpoint-engine`, and the first part of each id."""
        ...

    @property
    def holds_state(self) -> bool:
        """Whether a recovery can begin at its checkpoints; the log is trimmed behind such ones only."""
        ...

    @property
    def starts_target(self) -> bool:
        """Whether `restore` itself brings the incarnation, so that COMMAND is not started for it."""
        ...

    @property
    def needs_connections_closed(self) -> bool:
        """Whether every connection to the target must be closed before `checkpoint`: lanes, pool and tunnels."""
        ...

    async def probe(self) -> None:
        """Check that it can work here, before anything is started.  Raises EngineUnusableError."""
        ...

    def prepared(self, draft: Draft) -> AbstractAsyncContextManager[None]:
        """Entered while requests still pass, left when the state is taken or given up: for what can be done before.

        The target's state and draft.version will be others by then.  Raises CheckpointError, or OSError from writing.
        """
        ...

    async def checkpoint(self, draft: Draft, blackout: Blackout) -> Finish:
        """Take the target's state into `draft`.  Called when the target holds exactly the events up to draft.version
        and nothing is in flight; returns as soon as the target may get the next event.

        What it returns is awaited once requests pass again, for what needs no quiet (compressing, flushing).  Then the
        artefact is published.  Both raise CheckpointError, or OSError from writing; the draft is then removed.  Both
        may be cancelled, because the target died or we are stopped.
        `blackout` stands in its phase "freeze"; an engine that knows better begins others.
        """
        ...

    async def restore(self, checkpoint: Checkpoint, target: TargetAddress) -> None:
        """Give an incarnation the checkpoint's state.  The artefact was verified a moment ago.

        Where `starts_target` is false, `target` is a fresh incarnation that accepts connections and has got nothing.
        Where it is true, no incarnation is there, and one is when this returns; it gets nothing before.
        Raises RestoreRefusedError, RestoreFailedError, and TargetLostError when the connection to the target broke.
        """
        ...

    async def discard(self, checkpoint: Checkpoint) -> None:
        """Remove what the engine keeps outside the checkpoint directory.  The catalogue has forgotten it already.

        Raises CheckpointError, which is logged: nothing depends on it any more.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds here; called once, at the end."""
        ...

    def describe(self) -> dict[str, Fact]:
        """Return what `GET /state` shows of it; no secrets."""
        ...


OpenEngine: TypeAlias = Callable[[EngineContext], CheckpointEngine]
