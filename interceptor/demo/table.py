"""The table of kills: one line each, as soon as the application is back."""

from __future__ import annotations

from collections.abc import Sequence

from interceptor.demo.killer import Kill
from interceptor.demo.screen import Screen

# Title and width; all are set to the right.
COLUMNS = (
    ("killed at", 10), ("pid", 8), ("detected", 10), ("restarted", 11), ("replayed", 10), ("events/s", 10),
    ("in step", 9), ("slowest", 9),
)  # fmt: skip
NOTES = (
    "Times count from the SIGKILL. restarted: a new, empty process listens; in step: it holds what",
    "the dead one held; slowest: the slowest answer that any client got meanwhile.",
)


def print_head(screen: Screen) -> None:
    """Print the titles."""
    screen.line(screen.styled(_row([title for title, _ in COLUMNS]), "bold"))


def print_kill(screen: Screen, kill: Kill) -> None:
    """Print what became of one kill."""
    cells = [
        f"{kill.at_s:.1f} s", str(kill.pid), duration(kill.detected_s), duration(kill.listening_s),
        _count(kill.events), _count(kill.rate), duration(kill.recovered_s), duration(kill.slowest_answer_s),
    ]  # fmt: skip
    if kill.recovered_s is None:
        cells[3:] = []
    line = _row(cells)
    if kill.recovered_s is None:
        line += screen.styled("   killed again while the log was replayed into it:", "yellow")
    screen.line(line)


def duration(seconds: float | None) -> str:
    """Return a time in the unit that people would choose."""
    if seconds is None:
        return "-"
    if seconds < 0.01:
        return f"{seconds * 1_000:.1f} ms"
    return f"{seconds * 1_000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _count(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _row(cells: Sequence[str]) -> str:
    return "  " + "".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=False))
