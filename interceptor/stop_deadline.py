"""The end of a stop that hangs: a system call on the event loop's thread that a disk never answers.

All that waits without blocking has a limit of its own.  This one is for what no limit reaches, and its end is that of
`kill -9`, which is safe for the log: nothing that was acknowledged waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator

from interceptor.limits import Limits

logger = logging.getLogger(__name__)

SLACK_S = 30.0
"""For closing the log and everything else that takes a moment and has limits in the code."""

EXIT_STATUS = 1


def longest_stop_s(limits: Limits, *, with_checkpoint: bool) -> float:
    """Return how long an orderly stop may take, if each of its parts takes as long as it may."""
    checkpoint_s = limits.checkpoint_timeout_s + limits.checkpoint_store_timeout_s if with_checkpoint else 0.0
    return limits.shutdown_delay_s + 2 * limits.drain_timeout_s + limits.target_stop_grace_s + checkpoint_s + SLACK_S


@contextlib.contextmanager
def ended_after(timeout_s: float) -> Iterator[None]:
    """End the process if what is done in here takes longer."""
    timer = threading.Timer(timeout_s, _end, (timeout_s,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(timeout_s: float) -> None:
    logger.critical(
        "the stop has not ended within %g s, so the process ends without it: a disk does not answer. What was "
        "acknowledged is durable; the next start takes this one for killed",
        timeout_s,
    )
    # An orderly exit would wait for the thread that hangs.
    os._exit(EXIT_STATUS)
