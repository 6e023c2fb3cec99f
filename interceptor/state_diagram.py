"""The picture of the state machine in docs/states.md, drawn from its table: `python -m interceptor.state_diagram`."""

from __future__ import annotations

from interceptor.states import TRANSITIONS, Cause, State, StateMachine

_HEADING = """\
# The states

Drawn from the table in `interceptor/states.py` by `python -m interceptor.state_diagram > docs/states.md`; a test tells
when the two differ. Requests pass in ACTIVE and are held in every other state but FAILED, which refuses them. A pair of
state and cause that is not here is refused and changes nothing.
"""


def diagram() -> str:
    """Return the whole document: the diagram, and what each state and cause means."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (old, cause), new in TRANSITIONS.items():
        if cause not in (Cause.LOG_FAILED, Cause.DEFECT):
            arrows.setdefault((old, new), []).append(cause.name)
    lines = [_HEADING, "```mermaid", "stateDiagram-v2", f"    [*] --> {StateMachine().state.name}"]
    lines += [f"    {old.name} --> {new.name}: {', '.join(causes)}" for (old, new), causes in arrows.items()]
    lines += ["```", "", "From every state LOG_FAILED and DEFECT lead to FAILED.", ""]
    lines += ["| state | to the outside | why requests pass or are held |", "|---|---|---|"]
    lines += [f"| {state.name} | {state.public} | {state.value} |" for state in State]
    lines += ["", "| cause | what it says |", "|---|---|"]
    lines += [f"| {cause.name} | {cause.value} |" for cause in Cause]
    return "\n".join(lines)


if __name__ == "__main__":
    print(diagram())
