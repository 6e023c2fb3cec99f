"""What repairing a damaged file log would keep and what it would move aside; decided here, done in `repair`.

Kept is the longest run of versions without a gap from the log's first one on (design rule 8).  Bad bytes within it are
left out only where the versions prove that no event was in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storage_backends.backend import Fact
from storage_backends.file.inspection import Hole, SegmentInspection
from storage_backends.file.segment import HEADER_BYTES


@dataclass
class KeptSegment:
    """A segment that stays: `ranges` of its bytes, behind the header; `excised` and `cut` are left out."""

    path: Path
    first_version: int
    size_bytes: int
    ranges: list[tuple[int, int]]
    previous_bytes: int
    header_problem: str | None = None
    excised: list[Hole] = field(default_factory=list)
    cut: Hole | None = None
    is_compressed: bool = False

    @property
    def new_bytes(self) -> int:
        return HEADER_BYTES + sum(end - begin for begin, end in self.ranges)

    @property
    def is_rewritten(self) -> bool:
        """Whether more than its end changes."""
        return self.header_problem is not None or bool(self.excised) or (self.is_compressed and self.cut is not None)

    @property
    def changes(self) -> bool:
        return self.is_rewritten or self.cut is not None


@dataclass
class RepairPlan:
    """The whole repair.  `kept` and `moved` are in the log's order."""

    first_version: int
    last_version: int = 0
    kept: list[KeptSegment] = field(default_factory=list)
    moved: list[SegmentInspection] = field(default_factory=list)
    lost_readable: list[tuple[int, int]] = field(default_factory=list)
    lost_until: int = 0
    loses_unknown: bool = False
    facts: dict[str, Fact] | None = None
    dropped_facts: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether there is anything to repair."""
        return bool(self.moved or self.facts is not None or any(segment.changes for segment in self.kept))

    @property
    def loses_events(self) -> bool:
        """Whether an event is gone, or can't be shown not to be."""
        return self.loses_unknown or self.lost_until > self.last_version


def make_plan(segments: Sequence[SegmentInspection], facts: Mapping[str, Fact]) -> RepairPlan:
    """Decide, from segments that have been read (never none), and the facts about the log."""
    plan = RepairPlan(segments[0].first_version)
    expected_version = plan.first_version
    previous_bytes = 0
    ended = False
    for at, segment in enumerate(segments):
        if ended or segment.first_version != expected_version:
            # An earlier version again: a copy that somebody put there; what follows may still continue the log.
            ended = ended or segment.first_version > expected_version
            plan.moved.append(segment)
            continue
        following = segments[at + 1].first_version if at + 1 < len(segments) else None
        if at == 0:
            # Of a trimmed log: the length of a segment that is no longer there, which nobody compares.
            previous_bytes = segment.previous_bytes or 0
        kept = _kept(segment, following, previous_bytes, keep_empty=at == 0)
        if kept is None:
            ended = True
            plan.moved.append(segment)
            plan.loses_unknown |= bool(segment.size_bytes)
            continue
        plan.kept.append(kept)
        previous_bytes = kept.new_bytes
        expected_version = kept.cut.next_version if kept.cut else segment.next_version
        if kept.cut:
            ended = True
            plan.loses_unknown = True
    plan.last_version = expected_version - 1
    _note_losses(plan, segments)
    _judge_facts(plan, facts)
    return plan


def _kept(
    segment: SegmentInspection, following: int | None, previous_bytes: int, *, keep_empty: bool
) -> KeptSegment | None:
    """Return what stays of a segment that continues the log; None if that is nothing."""
    kept = KeptSegment(
        segment.path,
        segment.first_version,
        segment.size_bytes,
        [],
        previous_bytes,
        is_compressed=segment.stored_bytes is not None,
    )
    begin_bytes = min(HEADER_BYTES, segment.size_bytes)
    for hole in segment.holes:
        if hole.offset_bytes > begin_bytes:
            kept.ranges.append((begin_bytes, hole.offset_bytes))
        resumed = following if hole.resumed_version is None else hole.resumed_version
        # Behind the segment's end comes another file, which can't be part of a body.
        if resumed != hole.next_version or not (hole.exact or hole.resumed_version is None):
            kept.cut = hole
            break
        kept.excised.append(hole)
        begin_bytes = hole.end_bytes
    else:
        if segment.size_bytes > begin_bytes:
            kept.ranges.append((begin_bytes, segment.size_bytes))
    if not kept.ranges and not keep_empty and (kept.cut or segment.header_problem):
        return None
    if segment.header_problem:
        kept.header_problem = segment.header_problem
    elif segment.previous_bytes != previous_bytes:
        kept.header_problem = (
            f"it says that the segment before has {segment.previous_bytes} bytes, which has {previous_bytes}"
        )
    return kept


def _note_losses(plan: RepairPlan, segments: Sequence[SegmentInspection]) -> None:
    """Find which versions behind the last one kept are known, and which of them can still be read."""
    for segment in segments:
        begin_version = segment.first_version
        for hole in segment.holes:
            _note_readable(plan, begin_version, hole.next_version - 1)
            begin_version = hole.resumed_version or hole.next_version
        _note_readable(plan, begin_version, segment.next_version - 1)
    if plan.moved:
        named = [segment.first_version - 1 for segment in plan.moved]
        plan.lost_until = max(plan.lost_until, *named)


def _note_readable(plan: RepairPlan, first_version: int, last_version: int) -> None:
    first_version = max(first_version, plan.last_version + 1)
    if first_version <= last_version:
        if plan.lost_readable and plan.lost_readable[-1][1] == first_version - 1:
            first_version = plan.lost_readable.pop()[0]
        plan.lost_readable.append((first_version, last_version))
        plan.lost_until = max(plan.lost_until, last_version)


def _judge_facts(plan: RepairPlan, facts: Mapping[str, Fact]) -> None:
    """Leave out the facts that speak of versions beyond the last one kept."""
    last = plan.last_version
    new = dict(facts)
    beyond = fact_versions(facts)
    if beyond and max(beyond) > last:
        plan.lost_until = max(plan.lost_until, max(beyond))
    checkpoints = facts.get("checkpoints")
    if isinstance(checkpoints, list):
        good = [entry for entry in checkpoints if not _is_beyond(entry, last)]
        new["checkpoints"] = good
        plan.dropped_facts += [
            f"checkpoint {entry.get('id')} at version {entry.get('version')}"
            for entry in checkpoints
            if isinstance(entry, dict) and _is_beyond(entry, last)
        ]
    quarantined = facts.get("quarantined")
    if isinstance(quarantined, list):
        new["quarantined"] = [version for version in quarantined if not isinstance(version, int) or version <= last]
        plan.dropped_facts += [
            f"quarantine of event {version}" for version in quarantined if isinstance(version, int) and version > last
        ]
    stop = facts.get("clean_stop")
    if isinstance(stop, int) and (stop > last or plan.loses_events):
        del new["clean_stop"]
        plan.dropped_facts.append(f"clean stop at version {stop}")
    if plan.loses_events and facts.get("incarnation") is not None:
        del new["incarnation"]
        plan.dropped_facts.append(
            f"incarnation {facts['incarnation']} in step with the log: a target that still lives holds more than what "
            "is left, so it is taken for a new one; restart it before `interceptor run`"
        )
    if new != dict(facts):
        plan.facts = new


def fact_versions(facts: Mapping[str, Fact]) -> list[int]:
    """Return the versions that the facts say were in the log."""
    versions = []
    stop = facts.get("clean_stop")
    if isinstance(stop, int):
        versions.append(stop)
    for name in ("checkpoints", "quarantined"):
        entries = facts.get(name)
        for entry in entries if isinstance(entries, list) else []:
            version = entry.get("version") if isinstance(entry, dict) else entry
            if isinstance(version, int):
                versions.append(version)
    return versions


def lost_end(facts: Mapping[str, Fact], last_version: int) -> str | None:
    """Say what was behind the last version once, by what was noted about it; None if nothing was."""
    versions = fact_versions(facts)
    if not versions or max(versions) <= last_version:
        return None
    return (
        f"event {max(versions)} was in the log once (a clean stop, checkpoint or quarantine names it), and the log "
        f"ends at {last_version}: its end is lost"
    )


def missing_beginning(facts: Mapping[str, Fact], first_version: int) -> str | None:
    """Say what is missing in front of the first version; None where a checkpoint is noted that allows to trim it.

    Nothing is trimmed but what such a checkpoint holds, and it is noted for as long as it is the last one to do so.
    """
    checkpoints = facts.get("checkpoints")
    for entry in checkpoints if isinstance(checkpoints, list) else []:
        if not isinstance(entry, dict) or entry.get("holds_state") is not True:
            continue
        version = entry.get("version")
        if isinstance(version, int) and version >= first_version - 1:
            return None
    if first_version == 1:
        return None
    gone = "event 1 is" if first_version == 2 else f"the events 1 to {first_version - 1} are"
    return (
        f"{gone} missing, and no checkpoint is noted that holds what they have made: either segments are gone from the "
        "front, or the checkpoint behind which they were trimmed is; restore what is gone from a copy"
    )


def _is_beyond(entry: Fact, last_version: int) -> bool:
    version = entry.get("version") if isinstance(entry, dict) else None
    return isinstance(version, int) and version > last_version
