"""Orders to misbehave, once: files in a directory that the harness writes and the target takes away.

They come beside the requests on purpose: what is in a request would be replayed and happen again.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

ENVIRONMENT = "CHAOS_CONTROL"
BIG_BYTES = 65_537
EXIT_STATUS = 70
SLOW_S = 0.15
SOON_S = 0.004

# Done by a server that owns its sockets.
ON_THE_WIRE = ("half-head-exit", "half-head-close", "garbage", "half-answer-exit", "hang-in-answer", "close-after")
# Only sensible in the middle of an answer that clients get in pieces.
NEEDS_BIG = ("half-answer-exit", "hang-in-answer")


class Control:
    """One order at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warm_up_s = 0.0
        self._order = directory / "order"

    @classmethod
    def from_environment(cls) -> Control:
        """Return the control in the directory that the environment names."""
        return cls(Path(os.environ[ENVIRONMENT]))

    def begin(self) -> None:
        """Say who we are, and die at the start if that was ordered."""
        (self.directory / "pid.new").write_text(str(os.getpid()))
        (self.directory / "pid.new").rename(self.directory / "pid")
        self.warm_up_s = float(self._take("warm-up") or 0.0)
        delay = self._take("start-delay")
        if delay is not None:
            time.sleep(float(delay))
        for name in ("crash-3", "crash-2", "crash-1"):
            if self._take(name) is not None:
                os._exit(EXIT_STATUS)

    def order(self) -> str | None:
        """Take the order that waits, if there is one."""
        return self._take("order")

    def put_back(self, order: str) -> None:
        """This request is not the right one for it."""
        self._order.write_text(order)

    def _take(self, name: str) -> str | None:
        path = self.directory / name
        try:
            text = path.read_text()
            path.unlink()
        except FileNotFoundError:
            return None
        return text


def before(order: str | None) -> None:
    """What is ordered for the moment before a request is applied."""
    if order == "exit-before":
        os._exit(EXIT_STATUS)
    if order == "slow":
        time.sleep(SLOW_S)


def after(order: str | None) -> None:
    """What is ordered for the moment after it was applied and before it is answered."""
    if order == "exit-after":
        os._exit(EXIT_STATUS)
    if order == "exit-between":
        threading.Timer(SOON_S, os._exit, (EXIT_STATUS,)).start()
