"""Where the demonstration is shown: lines that stay, and in a terminal one line below them that lives.

Piped into a file or a program there are plain lines only.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_CLEAR_LINE = "\r\x1b[K"
_BARS = " ▁▂▃▄▅▆▇█"


class Screen:
    """Prints; knows what the terminal can show."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._coloured = self.live and not os.environ.get("NO_COLOR")
        self._unicode = (self._stream.encoding or "").lower().replace("-", "") == "utf8"
        self._status_shown = False

    def line(self, text: str = "") -> None:
        """Print a line that stays."""
        self.clear()
        self._stream.write((text if self._unicode else _in_ascii(text)) + "\n")
        self._stream.flush()

    def status(self, *parts: tuple[str, str]) -> None:
        """Draw the living line from (text, style) parts, cut to the terminal's width; nothing where there is none."""
        if not self.live:
            return
        room = shutil.get_terminal_size().columns - 1
        drawn = []
        for text, style in parts:
            drawn.append(self.styled(text[:room], style))
            room -= len(text[:room])
        line = "".join(drawn)
        self._stream.write(_CLEAR_LINE + (line if self._unicode else _in_ascii(line)))
        self._stream.flush()
        self._status_shown = True

    def styled(self, text: str, style: str) -> str:
        """Return the text in a style of `_CODES`, several of them, or none; as it is where there are no colours."""
        if not self._coloured or not style:
            return text
        return f"\x1b[{';'.join(_CODES[each] for each in style.split())}m{text}\x1b[0m"

    def mark(self, good: bool) -> str:
        """Return a tick or a cross."""
        return self.styled("✓", "bold green") if good else self.styled("✗", "bold red")

    def clear(self) -> None:
        """Take the living line away."""
        if self._status_shown:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()
            self._status_shown = False


def bars(values: list[int]) -> str:
    """Draw values as one row of bars, the largest one full."""
    largest = max(values, default=0) or 1
    return "".join(_BARS[-(-value * (len(_BARS) - 1) // largest)] for value in values)


def _in_ascii(text: str) -> str:
    text = text.replace("✓", "ok").replace("✗", "FAILED").replace("…", "...")
    return text.encode("ascii", "replace").decode()
