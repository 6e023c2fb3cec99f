"""Which of the last events a living target may have missed, after we were stopped uncleanly.

An event without a recorded outcome was written, and perhaps delivered, and perhaps finished: nobody knows.
"""

from __future__ import annotations

from interceptor.journal import Journal
from storage_backends.records import Outcome, Quarantine

_BATCH_RECORDS_MAX = 4_096
_BATCH_BYTES_MAX = 4 * 1024 * 1024


async def find_uncertain(journal: Journal, window_events: int) -> tuple[int, int] | None:
    """Return the first and last version without an outcome, None if there is none or the stop was clean.

    No more than `window_events` can have been under way at once, so only so many are looked at.  Raises LogError.
    """
    last = journal.last_version
    first = max(journal.backend.first_version, last - window_events + 1)
    if last == 0 or first > last or journal.facts.get("clean_stop") == last:
        return None
    unanswered = set(range(first, last + 1))
    reader = journal.reader(first)
    try:
        while records := await reader.next_batch(_BATCH_RECORDS_MAX, _BATCH_BYTES_MAX):
            for record in records:
                if isinstance(record, Outcome | Quarantine):
                    unanswered.discard(record.version)
    finally:
        reader.close()
    return (min(unanswered), max(unanswered)) if unanswered else None
