"""The history checker: decides from what clients saw, the final state and the log whether the rules held.

Each function looks at one rule; what a fault excuses by design is in the history (its windows and uncertain ranges), so
nothing is left out in silence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from bench.chaos.history import READS, Ending, History, Kind, Operation, Violation
from bench.chaos.linearizability import Call, counter_step, is_linearizable, register_step

# A rule that is broken is mostly broken often: the first few say what there is to know.
SHOWN_MAX = 5


def check(history: History) -> list[Violation]:
    """Return what was violated; [] for a legal history."""
    checks = (
        _notes, _exactly_once, _order_is_the_logs, _refused_is_nothing, _same_bytes, _quiet_is_exact, _client_errors,
        _blame, _divergences, _read_your_writes, _linearizable, _final_state,
    )  # fmt: skip
    violations: list[Violation] = []
    for one in checks:
        found = list(one(history))
        violations += found[:SHOWN_MAX]
        if len(found) > SHOWN_MAX:
            violations.append(Violation(found[0].rule, f"… and {len(found) - SHOWN_MAX} more of this kind"))
    return violations


def _notes(history: History) -> Iterator[Violation]:
    for note in history.notes:
        yield Violation("harness", note)


def _in_doubt(history: History) -> set[str]:
    """The operations of which the interceptor has said that it can't know, where that is legal."""
    if not history.uncertain_expected:
        return set()
    ranges = history.uncertain
    return {event.id for event in history.log if any(low <= event.version <= high for low, high in ranges)}


def _past_the_log(history: History, operation: Operation) -> bool:
    """Whether it is a read that is no event."""
    return history.unrecorded_reads and operation.kind in READS


def _left_out(history: History) -> set[str]:
    quarantined = set(history.quarantined)
    return {event.id for event in history.log if event.version in quarantined}


def _exactly_once(history: History) -> Iterator[Violation]:
    applied = Counter(entry.id for entry in history.final.applied)
    logged = Counter(event.id for event in history.log)
    for identifier, times in applied.items():
        if times > 1:
            yield Violation("3", f"{identifier} was applied {times} times in the surviving incarnation")
    for identifier, times in logged.items():
        if times > 1:
            yield Violation("1", f"{identifier} has {times} versions")
    doubtful = _in_doubt(history)
    for operation in history.operations:
        if operation.ending is not Ending.ACKNOWLEDGED or _past_the_log(history, operation):
            continue
        if operation.id not in logged:
            yield Violation("2", f"{operation.id} was acknowledged and is not in the log")
        if operation.id not in applied and operation.id not in doubtful:
            yield Violation("3", f"{operation.id} was acknowledged and is not in the surviving incarnation")
    if history.uncertain and not history.uncertain_expected:
        yield Violation("3", f"versions {history.uncertain} are reported as uncertain where everything can be known")


def _order_is_the_logs(history: History) -> Iterator[Violation]:
    doubtful, left_out = _in_doubt(history), _left_out(history)
    present = {entry.id for entry in history.final.applied}
    for number, (before, event) in enumerate(pairwise([0, *(event.version for event in history.log)])):
        if event != before + 1:
            yield Violation("1", f"the log has a gap: version {event} follows {before} at its place {number}")
    for identifier in present & left_out:
        yield Violation("3", f"{identifier} is quarantined and was applied all the same")
    expected = [
        event.id
        for event in history.log
        if event.id not in left_out and (event.id in present or event.id not in doubtful)
    ]
    applied_by_key = _by_key(history, [entry.id for entry in history.final.applied])
    expected_by_key = _by_key(history, expected)
    for key in sorted(applied_by_key.keys() | expected_by_key.keys()):
        yield from _same_order(applied_by_key[key], expected_by_key[key])


def _by_key(history: History, identifiers: list[str]) -> dict[str, list[str]]:
    """Divide what must be in one order: all of it, or what has the same key."""
    keys = {operation.id: operation.key for operation in history.operations} if history.keyed else {}
    divided: dict[str, list[str]] = defaultdict(list)
    for identifier in identifiers:
        divided[keys.get(identifier, "")].append(identifier)
    return divided


def _same_order(applied: list[str], expected: list[str]) -> Iterator[Violation]:
    if applied == expected:
        return
    for place, (found, wanted) in enumerate(zip(applied, expected, strict=False)):
        if found != wanted:
            yield Violation("1", f"the target applied {found} in place {place}, and the log says {wanted}")
            return
    missing, extra = expected[len(applied) :], applied[len(expected) :]
    yield Violation("1", f"the target lacks {missing[:SHOWN_MAX]} at its end, and has {extra[:SHOWN_MAX]} too much")


def _refused_is_nothing(history: History) -> Iterator[Violation]:
    applied = {entry.id for entry in history.final.applied}
    logged = {event.id for event in history.log}
    for operation in history.operations:
        if operation.ending not in (Ending.REFUSED, Ending.UNSENT):
            continue
        said = "got 503" if operation.ending is Ending.REFUSED else "was never sent whole"
        if operation.id in applied:
            yield Violation("3", f"{operation.id} {said} and was applied")
        elif operation.id in logged:
            yield Violation("3", f"{operation.id} {said} and is in the log")
    known = {operation.id for operation in history.operations if not _past_the_log(history, operation)}
    for identifier in sorted((applied | logged) - known):
        yield Violation("3", f"{identifier} was made by no client, or is a read that goes past the log")


def _same_bytes(history: History) -> Iterator[Violation]:
    sent = {operation.id: operation.body_crc for operation in history.operations}
    for where, entries in (("log", history.log), ("target", history.final.applied)):
        for entry in entries:
            if sent.get(entry.id, entry.body_crc) != entry.body_crc:
                yield Violation("5", f"the content of {entry.id} in the {where} is not the one that was sent")


def _quiet_is_exact(history: History) -> Iterator[Violation]:
    for quiet in history.quiets:
        if quiet.in_flight:
            yield Violation("4", f"{quiet.reason}: drained at {quiet.version} with {quiet.in_flight} events in flight")
        if quiet.changed:
            yield Violation("4", f"{quiet.reason}: the target went on working after it was drained at {quiet.version}")
        if quiet.applied != quiet.version and not history.uncertain_expected and not history.quarantined:
            yield Violation(
                "4", f"{quiet.reason}: version {quiet.version}, and the target holds {quiet.applied} events"
            )


def _client_errors(history: History) -> Iterator[Violation]:
    by_id = {operation.id: operation for operation in history.operations}
    for operation in history.operations:
        if operation.ending is Ending.ACKNOWLEDGED or operation.left:
            continue
        if operation.kind is Kind.POISON and operation.status == 502:
            continue
        ended = operation.ended_ns if operation.ended_ns is not None else operation.invoked_ns
        at_work = [
            window for window in history.windows if window.begin_ns <= ended and operation.invoked_ns <= window.end_ns
        ]
        status = operation.status
        # A part of an answer that is no event can't be continued by the next incarnation; with its connection go the
        # requests behind it.  A short one is passed on whole.
        cut = by_id.get(operation.behind or operation.id, operation)
        cuts = (window.cuts or (_past_the_log(history, cut) and cut.streams) for window in at_work)
        if status is None and any(cuts):
            continue
        # A malformed answer to a read past the log is an answer (RFC 9110 §15.6.3); no target is restarted for it.
        garbled = any(window.fault == "garbage" for window in at_work)
        if status == 502 and garbled and _past_the_log(history, operation):
            continue
        if status is not None and any(status in window.statuses for window in at_work):
            continue
        during = ", ".join(window.fault for window in at_work) or "no fault"
        seen = f"status {status}" if status is not None else "no answer"
        yield Violation("client", f"{operation.id} saw {seen} ({operation.error}) during {during}")


def _blame(history: History) -> Iterator[Violation]:
    poison = {operation.id for operation in history.operations if operation.kind is Kind.POISON}
    for event in history.log:
        if event.version in history.quarantined and event.id not in poison:
            yield Violation("poison", f"{event.id} (version {event.version}) is innocent and was quarantined")


def _divergences(history: History) -> Iterator[Violation]:
    if history.divergences and not history.divergences_expected:
        yield Violation("5", f"{history.divergences} replayed answers differ from the recorded ones")


def _read_your_writes(history: History) -> Iterator[Violation]:
    """A client that waits for each answer reads from its own list what it was told is in it."""
    doubtful = _in_doubt(history)
    own: dict[tuple[int, str], list[str]] = defaultdict(list)
    for operation in sorted(history.operations, key=lambda operation: operation.ended_ns or 0):
        if operation.ending is not Ending.ACKNOWLEDGED:
            continue
        written = own[operation.client, operation.key]
        if operation.kind is Kind.APPEND:
            written.append(operation.id)
        elif operation.kind is Kind.LIST and isinstance(operation.result, list):
            certain = [identifier for identifier in written if identifier not in doubtful]
            position = {identifier: place for place, identifier in enumerate(operation.result)}
            places = [position.get(identifier, -1) for identifier in certain]
            if -1 in places or places != sorted(places):
                yield Violation("ryw", f"{operation.id} does not show what its client had written before, in its order")


def _linearizable(history: History) -> Iterator[Violation]:
    logged = {event.id for event in history.log}
    by_key: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for operation in history.operations:
        model = _MODEL_OF.get(operation.kind)
        # What is not in the log has never taken effect.
        effective = operation.id in logged or (
            _past_the_log(history, operation) and operation.ending is Ending.ACKNOWLEDGED
        )
        if model is not None and effective:
            by_key[model, operation.key].append(_call_of(operation))
    for (model, key), calls in sorted(by_key.items()):
        if model == "counter":
            possible = is_linearizable(calls, 0, counter_step)
        else:
            possible = is_linearizable(calls, "", register_step)
        if not possible:
            yield Violation("linearizable", f"{len(calls)} operations on {model} {key} fit no order")


_MODEL_OF = {Kind.ADD: "counter", Kind.COUNT: "counter", Kind.WRITE: "register", Kind.READ: "register"}


def _call_of(operation: Operation) -> Call:
    known = operation.ending is Ending.ACKNOWLEDGED
    result = operation.result if not isinstance(operation.result, list) else None
    ended = operation.ended_ns if operation.ended_ns is not None else operation.invoked_ns
    return Call(operation.id, operation.kind.value, operation.id, result, operation.invoked_ns, ended, known)


def _final_state(history: History) -> Iterator[Violation]:
    """The state must follow from the journal, or the target itself is no witness."""
    kinds = {operation.id: operation for operation in history.operations}
    counters: Counter[str] = Counter()
    registers: dict[str, str] = {}
    lists: dict[str, list[str]] = defaultdict(list)
    for entry in history.final.applied:
        operation = kinds.get(entry.id)
        if operation is None:
            continue
        if operation.kind is Kind.ADD:
            counters[operation.key] += 1
        elif operation.kind is Kind.WRITE:
            registers[operation.key] = operation.id
        elif operation.kind is Kind.APPEND:
            lists[operation.key].append(operation.id)
    final = history.final
    if (dict(counters), registers, dict(lists)) != (final.counters, final.registers, final.lists):
        yield Violation("1", "the final state does not follow from the operations that the target applied")
