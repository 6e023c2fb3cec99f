"""Writes docs/smuggling.md: what we, nginx and HAProxy make of each case.  `python tests/hostile/table.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from asking import Verdict, judge
from case import Case
from framing_cases import FRAMING
from head_cases import HEADS
from proxies import OTHERS, start_other, start_ours
from recording import RecordingTarget
from support import Processes

PAGE = Path(__file__).parents[2] / "docs" / "smuggling.md"
CASES = [*FRAMING, *HEADS]
INTRODUCTION = """# Hostile requests: Interceptor, nginx, HAProxy

Written by `python tests/hostile/table.py`; our column is checked by `tests/hostile/`. Each case is sent on a connection
of its own, whose sending side then ends, to each proxy in front of the same strict target (h11) that keeps every byte.
A figure is a status that the client read: 200 is an answer of the target, so `200 200` means that two requests were
accepted. Most cases are followed by an honest `GET`, so that a proxy that ends a message elsewhere shows it. **Target
misreads** means that the target refused a part of what the proxy forwarded. **n reach the target** means that the
target read another number of requests than it was seen to answer.

HAProxy may end a connection whose client has ended its side before it looks at a second request: there `200` and
`200 200` say the same.

A lenient verdict of another proxy is not a hole by itself: it is one where something behind it reads otherwise. Both
are configured as `bench/subjects.py` says, without hardening. Compared: {versions}.
"""


def verdicts_of(name: str, processes: Processes, directory: Path) -> dict[str, Verdict]:
    """Return each case's verdict of one proxy: `recorded`, or one of OTHERS."""
    target = RecordingTarget()
    try:
        if name in OTHERS:
            proxy = start_other(processes, target, name, directory)
        else:
            proxy = start_ours(processes, target, name)
        return {case.name: judge(proxy, target, case) for case in CASES}
    finally:
        target.close()


def rows(columns: list[dict[str, Verdict]]) -> list[str]:
    return [row(case, [column[case.name].text for column in columns]) for case in CASES]


def row(case: Case, texts: list[str]) -> str:
    return f"| {case.name} | {case.origin} | {' | '.join(texts)} |"


def _version(command: list[str]) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return (ran.stdout or ran.stderr).splitlines()[0].partition(" - ")[0].removeprefix("nginx version: ")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        processes = Processes(Path(directory))
        try:
            columns = [verdicts_of(name, processes, Path(directory)) for name in ["recorded", *OTHERS]]
        finally:
            processes.end_all()
    versions = f"{_version(['nginx', '-v'])}, {_version(['haproxy', '-v'])}"
    head = ["| case | known from | Interceptor | nginx | HAProxy |", "|---|---|---|---|---|"]
    PAGE.write_text(INTRODUCTION.format(versions=versions) + "\n" + "\n".join([*head, *rows(columns)]) + "\n")


if __name__ == "__main__":
    main()
