"""The account at the end: every claim a finding with a tick or a cross, and the exit code follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from interceptor.demo.killer import Kill
from interceptor.demo.ledger import check_journal, check_values
from interceptor.demo.table import duration
from interceptor.demo.traffic import Tally

EXAMPLES_MAX = 3


class Finding(NamedTuple):
    """One claim, and whether it holds."""

    good: bool
    text: str


@dataclass
class Evidence:
    """What was seen by the clients, is said by the application itself, and by the interceptor."""

    tally: Tally
    kills: Sequence[Kill]
    journal: Sequence[str]
    values: Mapping[str, int]
    metrics: Mapping[str, float]


def findings(evidence: Evidence) -> dict[str, list[Finding]]:
    """Return the findings by the heading that they belong to."""
    return {
        "What the clients saw": _clients(evidence.tally),
        "What the application holds": _application(evidence),
        "What the interceptor did": _interceptor(evidence),
    }


def _clients(tally: Tally) -> list[Finding]:
    errors, wrong = len(tally.errors), len(tally.wrong_reads)
    typical = duration(median(tally.latencies_s)) if tally.answered else "-"
    return [
        Finding(
            not errors and tally.answered > 0,
            f"{tally.answered:,} requests answered, {errors:,} errors{_examples(tally.errors)}",
        ),
        Finding(
            not wrong,
            f"{tally.reads:,} reads, {wrong:,} of them wrong: each client always saw what it had written"
            if not wrong
            else f"{tally.reads:,} reads; {wrong:,} wrong answers{_examples(tally.wrong_reads)}",
        ),
        Finding(tally.answered > 0, f"slowest answer {duration(tally.slowest_s)}, median {typical}"),
    ]


def _application(evidence: Evidence) -> list[Finding]:
    tally = evidence.tally
    check = check_journal(tally.operations, evidence.journal)
    wrong_counters = check_values(tally.operations, evidence.values)
    exact = not check.lost and not check.doubled and not check.unknown
    text = (
        f"{len(evidence.journal):,} increments, {tally.acknowledged:,} acknowledged to clients: "
        f"{len(check.lost):,} lost, {len(check.doubled):,} doubled"
    )
    if check.unknown:
        text += f", {len(check.unknown):,} that no client ever sent"
    text += _examples([*check.lost, *check.doubled, *check.unknown])
    result = [
        Finding(exact, text),
        Finding(
            not wrong_counters,
            f"{len(evidence.values):,} counters, {len(wrong_counters):,} differ from the clients' sums"
            f"{_examples(wrong_counters)}",
        ),
        Finding(
            not check.out_of_order,
            f"{len(check.out_of_order):,} increments out of the order in which clients saw them"
            f"{_examples(check.out_of_order)}",
        ),
    ]
    if evidence.kills and exact:
        inherited = evidence.kills[-1].acknowledged_before
        result.append(Finding(True, f"{inherited:,} of them were first made by processes that are dead now"))
    return result


def _interceptor(evidence: Evidence) -> list[Finding]:
    metrics, kills = evidence.metrics, evidence.kills
    amid = sum(kill.amid_recovery for kill in kills)
    recoveries = int(metrics["interceptor_recoveries_total"])
    divergences = int(metrics["interceptor_divergences_total"])
    given_up = int(metrics["interceptor_quarantined_events_total"] + metrics["interceptor_uncertain_events_total"])
    recovered = [kill.recovered_s for kill in kills if kill.recovered_s is not None]
    slowest = f", the slowest in {duration(max(recovered))}" if recovered else ""
    caught = f" ({amid} of them amid a recovery)" if amid else ""
    return [
        Finding(recoveries == len(kills) - amid, f"kills: {len(kills)}{caught}, recoveries: {recoveries}{slowest}"),
        Finding(
            not divergences,
            f"{int(metrics['interceptor_replayed_events_total']):,} events replayed, {divergences:,} divergences: "
            "every answer compared with the first",
        ),
        Finding(not given_up, f"{given_up:,} events given up or left uncertain"),
    ]


def _examples(texts: Iterable[str]) -> str:
    shown = list(texts)
    if not shown:
        return ""
    return f" ({'; '.join(shown[:EXAMPLES_MAX])}{'; …' if len(shown) > EXAMPLES_MAX else ''})"
