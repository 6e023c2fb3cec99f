"""Coverage-guided fuzzing of the wire layer: `python -m tests.fuzz.wire SECONDS [DIRECTORY]`, which needs atheris.

New inputs go to DIRECTORY (a temporary one by default); what fails is written to ./crash-… and ends the run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["interceptor.wire"]):
    from tests.fuzz.wire_properties import check

CORPUS = Path(__file__).parent / "corpus"
INPUT_BYTES_MAX = 4_096
MEMORY_MIB_MAX = 512
INPUT_SECONDS_MAX = 2


def main(seconds: int, directory: str) -> None:
    atheris.enabled_hooks.add("RegEx")
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-timeout={INPUT_SECONDS_MAX}",
            f"-rss_limit_mb={MEMORY_MIB_MAX}",
            f"-max_len={INPUT_BYTES_MAX}",
            f"-dict={CORPUS.parent / 'http.dict'}",
            "-print_final_stats=1",
            directory,
            str(CORPUS),
        ],
        check,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else temporary)
