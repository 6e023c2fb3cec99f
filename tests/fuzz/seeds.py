"""Writes the hostile cases into a directory as inputs of the fuzzer: `python -m tests.fuzz.seeds DIRECTORY`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))

from framing_cases import FRAMING
from head_cases import HEADS

if __name__ == "__main__":
    for case in [*FRAMING, *HEADS]:
        data = b"\0\7" + case.data
        (Path(sys.argv[1]) / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
