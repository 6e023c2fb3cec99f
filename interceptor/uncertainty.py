"""Which of the last events a living target may have missed, after we were stopped uncleanly.

An event without a recorded outcome was written, and perhaps delivered, and perhaps finished: nobody knows.
"""

from __future__ import annotations

from typing import NamedTuple

from interceptor.journal import Journal
from interceptor.order import order_of_log
from storage_backends.records import Event, Outcome, Quarantine

_BATCH_RECORDS_MAX = 4_096
_BATCH_BYTES_MAX = 4 * 1024 * 1024


class Uncertain(NamedTuple):
    """`events` of the versions from `low` to `high` are in doubt, `low` and `high` among them."""

    low: int
    high: int
    events: int


async def find_uncertain(journal: Journal, window_events: int) -> Uncertain | None:
    """Return which versions have no outcome; None if there is none or the stop was clean.  Raises LogError."""
    last = journal.last_version
    first = max(journal.backend.first_version, _first_in_doubt(journal, window_events))
    if last == 0 or first > last or journal.facts.get("clean_stop") == last:
        return None
    unanswered: set[int] = set()
    reader = journal.reader(first)
    try:
        while records := await reader.next_batch(_BATCH_RECORDS_MAX, _BATCH_BYTES_MAX):
            for record in records:
                if isinstance(record, Event):
                    if record.version >= first:
                        unanswered.add(record.version)
                elif isinstance(record, Outcome | Quarantine):
                    unanswered.discard(record.version)
    finally:
        reader.close()
    return Uncertain(min(unanswered), max(unanswered), len(unanswered)) if unanswered else None


def _first_in_doubt(journal: Journal, window_events: int) -> int:
    """Return the first version that may be unanswered.

    Down one lane answers come in order, and no more than `window_events` can have been under way.  Of several a slow
    one may have left an event behind that is older than any number of answered ones; but what came before the
    incarnation was in step had been answered.
    """
    if order_of_log(journal.facts) == "total":
        return journal.last_version - window_events + 1
    in_step = journal.facts.get("in_step_version")
    return in_step + 1 if isinstance(in_step, int) else 1
