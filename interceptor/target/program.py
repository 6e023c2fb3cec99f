"""Which program a process runs, as far as that tells how its HTTP server treats pipelined requests.

Every Python server that was tried takes them in turn, a loop over a connection's requests being the natural way to
write one there; some don't name themselves in their answers (docs/suitability.md#side-by-side).  Go's does as
well, but what accepts is often a forwarder written in Go (docker-proxy, kubectl) in front of anything.
"""

from __future__ import annotations

import os
import re

_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*(?: \(deleted\))?")


def takes_turns(pid: int) -> bool:
    """Return whether the process runs a program whose HTTP servers take pipelined requests in turn.

    False where that can't be seen: another user's process, or one of another PID namespace.
    """
    try:
        return _PYTHON.fullmatch(os.path.basename(os.readlink(f"/proc/{pid}/exe"))) is not None
    except OSError:
        return False
