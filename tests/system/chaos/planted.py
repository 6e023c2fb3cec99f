"""`python planted.py BUG run …`: the interceptor with one rule broken on purpose; the harness must find out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

from interceptor.admission import Admission
from interceptor.cli.main import main
from interceptor.exchange import RecordedExchange
from interceptor.first_contact import FirstContact
from interceptor.hold import Hold
from interceptor.journal import Journal
from interceptor.projector import Projector
from interceptor.release_gate import ReleaseGate
from interceptor.states import Cause, State


def released_early() -> None:
    """Rule 2: answers leave before their events are durable."""
    Journal.release_version = property(lambda self: self.last_version, lambda self, value: None)  # type: ignore[assignment]


def read_released_early() -> None:
    """Rule 2: what a read past the log shows may not be durable yet."""
    ReleaseGate.is_open = lambda self, version: True  # type: ignore[method-assign]


def order_swapped() -> None:
    """Rule 1: of two events that come together the second is delivered first."""
    deliver = Projector.deliver

    def swapped(self: Projector, batch: list[RecordedExchange]) -> None:
        last = batch[-1]
        if len(batch) > 1:
            batch = [batch[1], batch[0], *batch[2:]]
        deliver(self, batch)
        if self.in_step:
            self.delivered_version = last.event.version

    Projector.deliver = swapped  # type: ignore[method-assign]


def drain_ignored() -> None:
    """Rule 4: it is quiet as soon as somebody asks for it."""

    def check_drained(self: Hold) -> None:
        if self._machine.state is State.DRAINING:
            self._machine.apply(Cause.DRAINED)

    Hold.check_drained = check_drained  # type: ignore[method-assign]


def delivered_twice() -> None:
    """Rule 3: after our own restart the living target gets the last event again."""

    async def project(self: Any) -> Any:
        # An explicit version would be refused without a checkpoint before it.
        self._projection._passed_over_version = max(0, self._journal.last_version - 1)
        return await self._projection.project()

    FirstContact.project_unless_in_step = project  # type: ignore[method-assign]


def refused_and_kept() -> None:
    """Rule 3: what got 503 from the hold queue is delivered all the same."""

    def expire(self: Admission) -> None:
        deadline_s = monotonic() - self._limits.hold_time_max_s
        for exchange in self._held:
            if exchange.client is not None and exchange.arrived_s < deadline_s:
                exchange.refuse(503, "not recorded and not delivered", retry_after_s=1)
                exchange.client = None

    Admission.expire = expire  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__.replace("_", "-"): bug
    for bug in (released_early, read_released_early, order_swapped, drain_ignored, delivered_twice, refused_and_kept)
}

if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    main()
