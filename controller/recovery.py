"""What to do about a Pod: a function of how its container is and of what its sidecar says in `/state`."""

from __future__ import annotations

from enum import Enum
from typing import Any

from controller.pod import Condition, Health

# Whose hold it is, as `holds` in /state names it.  So the sidecar remembers for us what we have begun.
HOLDER = "controller"
# Times in a Pod's status are whole seconds, and two clocks are compared.
CLOCKS_DIFFER_S = 1.0


class Step(Enum):
    """The next thing to do."""

    NOTHING = "nothing"
    HOLD = "POST /state?state=Waiting"
    RECORD_FAILURE = "the sidecar holds already: say that the container failed"
    WAIT = "the sidecar is at work: look again"
    PROJECT = "POST /reproject, then POST /state?state=Active"
    RECORD_RECOVERY = "the sidecar has recovered by itself: say so"
    REPORT_PROBLEM = "the sidecar needs an operator: say so"


def next_step(health: Health, state: dict[str, Any]) -> Step:
    """Return the next step."""
    if health.condition is Condition.GONE:
        return Step.NOTHING
    ours = HOLDER in state["holds"]
    if health.condition is Condition.FAILED:
        if ours or state["state"] != "Active":
            return Step.RECORD_FAILURE
        return _record(state) if _newer_than(state, health.since_s) else Step.HOLD
    if health.condition is Condition.STARTING:
        return Step.NOTHING
    if ours:
        return Step.PROJECT
    if state["problem"]:
        return Step.REPORT_PROBLEM
    if state["state"] != "Active":
        return Step.NOTHING if state["holds"] else Step.WAIT
    return _record(state)


def _record(state: dict[str, Any]) -> Step:
    return Step.RECORD_RECOVERY if state["last_recovery"] else Step.NOTHING


def _newer_than(state: dict[str, Any], failed_s: float | None) -> bool:
    """Whether the sidecar serves an incarnation that came after the failure: the Pod's status is behind."""
    since_s = state["target"]["since"]
    return failed_s is not None and since_s is not None and since_s >= failed_s - CLOCKS_DIFFER_S


def first_version(state: dict[str, Any]) -> int | None:
    """Return from where the sidecar has to project: behind its last checkpoint, None where that holds no state."""
    checkpoint = state["last_checkpoint"]
    return checkpoint["version"] + 1 if checkpoint and checkpoint["holds_state"] else None
