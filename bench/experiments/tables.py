"""The tables of docs/performance.md, in Markdown, written from the rows that the experiments have left."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from bench.experiments import thesis

Rows = Sequence[Mapping[str, Any]]
_EMPTY = "-"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def number(value: float | None, digits: int) -> str:
    """A number with so many digits behind the point, or a dash."""
    return _EMPTY if value is None else f"{value:,.{digits}f}"


def cost_table(rows: Rows) -> str:
    """CPU, ratios and latency of each subject."""
    head = ("proxy", "CPU µs/request", "least…greatest", "÷ nginx", "÷ Envoy", "÷ floor", "req/s", "p50 ms", "p95 ms",
            "p95 ÷ direct", "errors")  # fmt: skip
    return markdown(
        head,
        (
            (
                row["subject"],
                number(row["cpu_us"], 1),
                _EMPTY if row["cpu_us_spread"] is None else "{:.1f}…{:.1f}".format(*row["cpu_us_spread"]),
                *(number(row["cpu_ratios"].get(name), 2) for name in ("nginx", "envoy", "floor")),
                number(row["requests_per_s"], 0),
                number(row["p50_ms"], 2),
                number(row["p95_ms"], 2),
                number(row["p95_ratio_to_direct"], 2),
                str(row["errors"]),
            )
            for row in rows
        ),
    )


def sweep_table(rows: Rows) -> str:
    """p95 by subject and number of clients; with the throughput at the greatest and the best number."""
    numbers = sorted({row["clients"] for row in rows})
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    head = ("p95 in ms with … clients", *(f"{clients:,}" for clients in numbers), "most req/s")
    lines = [
        (
            subject,
            *(_p95([row for row in rows if (row["subject"], row["clients"]) == (subject, at)]) for at in numbers),
            number(max((row["requests_per_s"] for row in rows if row["subject"] == subject), default=None), 0),
        )
        for subject in subjects
    ]
    before = [
        (f"{thesis.MEASURED_ELSEWHERE}: {name}", number(p95, 2), *[_EMPTY] * (len(numbers) - 1), _EMPTY)
        for name, p95 in thesis.P95_AT_50_CLIENTS_MS.items()
    ]
    return markdown(head, [*lines, *before])


def _p95(rows: Rows) -> str:
    if not rows:
        return _EMPTY
    errors = sum(row["errors"] for row in rows)
    return f"{errors:,} errors" if errors else number(median(row["p95_ms"] for row in rows), 2)


def recovery_table(rows: Rows) -> str:
    """Each recovery with its parts, and the thesis' figure beside it."""
    head = ("events in the log", "way", "detected ms", "application back s", "replayed", "replay s",
            "kill to in step s", "slowest client s", "application alone s", "thesis s")  # fmt: skip
    return markdown(
        head,
        (
            (
                f"{row['events']:,}",
                row["way"],
                number(row["detected_s"] * 1000, 1),
                number(row["target_back_s"], 2),
                f"{row['replayed']:,}",
                number(row["replay_s"], 3),
                number(row["total_s"], 3),
                number(row["slowest_client_s"], 3),
                number(row["target_alone_s"], 3),
                number(thesis.RECOVERY_S.get(row["events"]), 2) if row["way"] == "replay" else _EMPTY,
            )
            for row in sorted(rows, key=lambda row: (row["events"], row["way"]))
        ),
    )


def calls_table(rows: Rows) -> str:
    """System calls of each subject for a request."""
    return markdown(
        ("proxy", "system calls/request", "most of them"),
        (
            (
                row["subject"],
                number(row["per_request"]["total"], 2),
                ", ".join(
                    f"{name} {calls:.2f}"
                    for name, calls in row["per_request"].items()
                    if name != "total" and calls >= 0.01
                ),
            )
            for row in rows
        ),
    )


def memory_table(rows: Rows) -> str:
    """Resident memory at each number of connections."""
    numbers = rows[0]["connections"] if rows else []
    head = ("resident MiB with … idle connections", *(f"{at:,}" for at in numbers), "bytes a connection")
    return markdown(
        head,
        (
            (
                row["subject"],
                *(number(value / 2**20, 1) for value in row["rss_bytes"]),
                number((row["rss_bytes"][-1] - row["rss_bytes"][0]) / max(numbers[-1] - numbers[0], 1), 0),
            )
            for row in rows
        ),
    )


def body_table(rows: Rows) -> str:
    """CPU for a request by the size of its body."""
    sizes = sorted({row["body_bytes"] for row in rows})
    found = {(row["subject"], row["body_bytes"]): row for row in rows}
    return markdown(
        ("CPU µs of a POST with … bytes", *(f"{size:,}" for size in sizes)),
        (
            (name, *(number(found[name, size]["cpu_us"], 0) if (name, size) in found else _EMPTY for size in sizes))
            for name in dict.fromkeys(row["subject"] for row in rows)
        ),
    )


def log_table(rows: Rows) -> str:
    """CPU for an event and memory by the length of the log."""
    lengths = sorted({row["events"] for row in rows})
    found = {(row["subject"], row["events"]): row for row in rows}
    return markdown(
        ("µs an event, MiB resident, after … events", *(f"{length:,}" for length in lengths)),
        (
            (
                name,
                *(
                    f"{found[name, length]['cpu_us']:.1f}, {found[name, length]['rss_mib']:.0f}"
                    for length in lengths
                    if (name, length) in found
                ),
            )
            for name in dict.fromkeys(row["subject"] for row in rows)
        ),
    )


def users_table(rows: Rows) -> str:
    """What locust's users saw."""
    return markdown(
        ("locust's users, thinking in between", "users", "req/s", "p50 ms", "p95 ms", "p99 ms", "failures"),
        (
            (
                row["subject"], f"{row['users']:,}", number(row["requests_per_s"], 0), number(row["p50_ms"], 1),
                number(row["p95_ms"], 1), number(row["p99_ms"], 1), str(row["failures"]),
            )
            for row in rows
        ),
    )  # fmt: skip
