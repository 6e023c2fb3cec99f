"""What is legal under a fault: the checker excuses exactly this, and the report says it in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Expectation:
    """What clients and operators may see while a fault is at work.  Nothing here excuses a lost acknowledgement.

    `statuses`: answers other than 200.  `cuts`: connections that end without an answer, or are refused.
    `uncertain`: the interceptor may say of a range of versions that it can't know whether the target applied them.
    """

    reason: str
    statuses: tuple[int, ...] = ()
    cuts: bool = False
    uncertain: bool = False
    quarantine: bool = False


INVISIBLE = Expectation("a failure shorter than the hold window: clients see nothing but a slow answer")
BEYOND_HOLD = Expectation(
    "a failure longer than the hold window: 503 with Retry-After, and nothing was applied", statuses=(503,)
)
LIVING_TARGET_UNSUPERVISED = Expectation(
    "a living target, which nobody may restart, closed the connection on unanswered events: they are not sent again, "
    "their clients get 502, and their range is reported as uncertain",
    statuses=(502,), uncertain=True,
)  # fmt: skip
INTERCEPTOR_KILLED = Expectation(
    "the interceptor was killed and the target is new too, or is made new: clients are cut, the state is the log's",
    cuts=True,
)
INTERCEPTOR_KILLED_TARGET_LIVES = Expectation(
    "the interceptor was killed and the target lives on: clients are cut; which of the last events the target had "
    "finished can't be known and is reported as uncertain (--on-unclean assume-applied)",
    cuts=True, uncertain=True,
)  # fmt: skip
ORDERLY_STOP = Expectation(
    "an orderly stop: what was accepted is answered, connections end, later ones are refused until the restart",
    statuses=(503,), cuts=True,
)  # fmt: skip
POISON = Expectation(
    "an event that kills each incarnation is quarantined: 502 to its client, and to nobody else",
    quarantine=True,
)  # fmt: skip
