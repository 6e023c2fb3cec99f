"""The end of a campaign as text."""

from __future__ import annotations

from bench.chaos.campaign import Findings
from bench.chaos.faults import FAULTS, possible_faults
from bench.chaos.plan import Plan


def table(findings: Findings) -> str:
    """Return totals, faults by kind, and what was violated, with the commands that do it again."""
    rows = [
        ("runs", findings.runs), ("seconds", round(findings.seconds, 1)), ("operations", findings.operations),
        ("acknowledged", findings.acknowledged), ("refused with 503", findings.refused),
        ("failures", findings.failures), ("recoveries", findings.recoveries),
        ("from a checkpoint", findings.restores),
    ]  # fmt: skip
    lines = [f"{name:<24}{value:>12}" for name, value in rows]
    lines += ["", "faults"]
    lines += [f"  {name:<22}{count:>12}" for name, count in findings.faults.most_common()]
    lines += ["", f"{'violations':<24}{len(findings.violations):>12}"]
    lines += [f"  rule {violation.rule}: {violation.text}" for violation in findings.violations]
    if findings.repeat:
        lines += ["", "again", *(f"  {command}" for command in findings.repeat)]
    return "\n".join(lines)


def expectations(plan: Plan) -> str:
    """Return what is legal under each fault that is possible in a run, one line each."""
    return "\n".join(f"  {fault.name:<22}{fault.expected(plan).reason}" for fault in possible_faults(plan))


ALL_FAULTS = tuple(FAULTS)
