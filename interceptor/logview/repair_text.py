"""What a repair does, in words."""

from __future__ import annotations

from interceptor.logview.drawing import ranges_text
from storage_backends.file.inspection import Hole
from storage_backends.file.repair import Repair
from storage_backends.file.repair_plan import KeptSegment, RepairPlan


def describe(repair: Repair) -> list[str]:
    """Return what is kept, what is gone and where it goes. Before the repair, which changes the names that are free."""
    plan = repair.plan
    lines = [f"{'kept':<9} {_kept_text(plan)}"]
    for kept in plan.kept:
        lines += _kept_lines(kept, repair)
    lines += [
        f"{'moved':<9} {segment.path.name} ({segment.size_bytes} bytes) to {repair.moved_to(segment.path).name}"
        for segment in plan.moved
    ]
    lines += [f"{'gone':<9} {text}" for text in _gone(plan)]
    if repair.facts_problem is not None:
        lines.append(
            f"{'facts':<9} FACTS.json can't be read and is moved aside; a living target is taken for a new one"
        )
    lines += [f"{'dropped':<9} {text}" for text in plan.dropped_facts]
    return lines


def _kept_text(plan: RepairPlan) -> str:
    if plan.last_version < plan.first_version:
        return "no event: the first one can't be read" if plan.loses_events else "no event: the log is empty"
    return f"events {plan.first_version} to {plan.last_version}, without a gap"


def _kept_lines(kept: KeptSegment, repair: Repair) -> list[str]:
    name = kept.path.name
    lines = []
    if kept.header_problem is not None:
        lines.append(f"{'header':<9} {name}: {kept.header_problem}; it is written anew")
    lines += [
        f"{'left out':<9} {name}: bytes {hole.offset_bytes} to {hole.end_bytes} ({_size(hole)}): {hole.problem}; no "
        "event was in them, the versions go on behind: outcomes, tombstones or marks are gone"
        for hole in kept.excised
    ]
    if kept.cut is not None:
        cut_bytes = kept.size_bytes - kept.cut.offset_bytes
        where = repair.moved_to(kept.path) if kept.is_rewritten else repair.tail_kept_in(kept)
        lines.append(
            f"{'cut':<9} {name} at byte {kept.cut.offset_bytes}: {kept.cut.problem}; {cut_bytes} bytes"
            f"{'' if kept.is_rewritten else f' copied to {where.name}'}"
        )
    if kept.is_rewritten:
        lines.append(f"{'copy':<9} {name} as it was: {repair.moved_to(kept.path).name} ({kept.size_bytes} bytes)")
    return lines


def _gone(plan: RepairPlan) -> list[str]:
    if not plan.loses_events:
        return ["no event"]
    if plan.lost_until <= plan.last_version:
        return [f"what the bytes held that can't be read: perhaps events from {plan.last_version + 1} on, perhaps none"]
    readable = [span for span in plan.lost_readable if span[1] > plan.last_version]
    texts = [f"events {ranges_text([(plan.last_version + 1, plan.lost_until)])}, at least; how many more is unknown"]
    if readable:
        texts.append(f"of these, {ranges_text(readable)} can still be read in what was set aside")
    return texts


def _size(hole: Hole) -> str:
    return f"{hole.end_bytes - hole.offset_bytes} bytes"
