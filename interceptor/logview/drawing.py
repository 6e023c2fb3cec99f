"""Numbers drawn with block characters."""

from __future__ import annotations

from collections.abc import Sequence

_LEVELS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
BAR_WIDTH = 32


def sparkline(values: Sequence[int]) -> str:
    """Return one character a value; any value above zero can be seen."""
    top = max(values, default=0)
    if not top:
        return _LEVELS[0] * len(values)
    return "".join(_LEVELS[max(1, round(value * 8 / top))] if value else _LEVELS[0] for value in values)


def bar(value: int, top: int, width: int = BAR_WIDTH) -> str:
    """Return a bar as long as `value` is of `top`, which fills the width."""
    eighths = max(1, value * width * 8 // top) if value and top else 0
    return _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def bytes_text(size_bytes: int) -> str:
    """Return a size as 999 B, 12.3 KiB, 4.0 GiB."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def ranges_text(ranges: Sequence[tuple[int, int]], shown_max: int = 8) -> str:
    """Return ranges of versions as 3, 5 to 9, … and 12 more ranges."""
    parts = [str(first) if first == last else f"{first} to {last}" for first, last in ranges[:shown_max]]
    if len(ranges) > shown_max:
        parts.append(f"… and {len(ranges) - shown_max} more ranges")
    return ", ".join(parts)
