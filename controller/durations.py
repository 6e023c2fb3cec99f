"""Durations as people write them: `30`, `30s`, `5m`, `1h30m`, the seed's `10min`."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|min|s|m|h|d)", re.ASCII)


def parse_duration_s(text: str) -> float:
    """Return seconds.  Raises ValueError unless it is a positive duration."""
    stripped = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", stripped, re.ASCII):
        seconds = float(stripped)
    elif stripped and re.fullmatch(rf"(?:{_PART.pattern})+", stripped, re.ASCII):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(stripped))
    else:
        raise ValueError(f"{text!r} is no duration: write 30s, 5m or 1h30m")
    if seconds <= 0:
        raise ValueError(f"{text!r} is no duration: it has to be above zero")
    return seconds
