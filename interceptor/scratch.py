"""Time travel: the state at version n in a scratch copy of the application, while live traffic goes on.

The same projector with another target.  Its report of divergences also tells how well an application can be replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Sequence

from interceptor.address import Target
from interceptor.counters import Counters
from interceptor.delivery import Delivery
from interceptor.distribution import distribution, lane_count
from interceptor.divergence_report import SECRET_FIELDS, add_requests
from interceptor.errors import TargetLostError
from interceptor.journal import Journal
from interceptor.lane import Lane
from interceptor.limits import Limits
from interceptor.message import plain
from interceptor.order import Order
from interceptor.pipelining import Pipelining
from interceptor.projector import Progress, Projector
from storage_backends.records import Event

PROGRESS_EVERY_S = 0.2


async def project_into_scratch(
    journal: Journal, target: Target, limits: Limits, skip: Container[int], from_version: int, to_version: int,
    order: Order, lanes_asked: int, written: Callable[[Sequence[Delivery]], bytes] = plain,
    ignores: Callable[[Event], bool] | None = None, secret_fields: Sequence[str] = SECRET_FIELDS,
    pipelining: Pipelining = Pipelining.AUTO,
) -> AsyncIterator[Progress]:  # fmt: skip
    """Deliver from_version … to_version to `target`; yields progress several times a second and at the end.

    Raises TargetLostError when the copy breaks the connection (it is not started again), and the log's errors.
    """
    counters = Counters()

    def lost(lane: Lane, reason: str) -> None:
        if not projector.forgives_idle_close(lane):
            projector.interrupt(reason)

    lanes = [
        Lane(target, limits, counters, on_lost=lost, confirm=lambda: True, written=written, pipelining=pipelining)
        for _ in range(lane_count(order, lanes_asked))
    ]
    projector = Projector(lanes, limits, distribution(order, lanes, counters))
    projector.ignores = ignores
    reader = journal.reader(from_version)
    work = asyncio.get_running_loop().create_task(projector.catch_up(reader, from_version, lambda: to_version, skip))
    try:
        while not work.done():
            await asyncio.wait([work], timeout=PROGRESS_EVERY_S)
            if projector.progress is not None and not work.done():
                yield projector.progress
        progress = work.result()
        await add_requests(journal, progress.comparison, f"http://{target.authority}", secret_fields)
        yield progress
    except TargetLostError as error:
        raise TargetLostError(f"the copy at {target} was lost during the projection: {error}") from error
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        reader.close()
        for lane in lanes:
            await lane.close()
