"""Writes docs/smuggling.md: what we, nginx and HAProxy make of each case.  `python tests/hostile/table.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from answer_cases import ANSWERS, CUT
from asking import Verdict, judge, judge_answer
from case import Case
from framing_cases import FRAMING
from head_cases import HEADS
from proxies import OTHERS, start_other, start_ours
from recording import RecordingTarget
from scripted import Connection, ScriptedTarget, path_of
from support import Processes

PAGE = Path(__file__).parents[2] / "docs" / "smuggling.md"
CASES = [*FRAMING, *HEADS]
INTRODUCTION = """# Hostile requests and answers: Interceptor, nginx, HAProxy

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


ANSWERS_INTRODUCTION = """## Hostile answers

What the client is left with where the target answers so, and ends the connection. `whole`: an answer that is complete
by its own framing; `cut`: the connection ended before that, which a client can tell; `until the end of the connection`:
it can't.
Where we say `cut or 502`, the head was sound and may have left before the content was seen not to be.
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


def answers_seen(name: str, processes: Processes, directory: Path) -> list[str]:
    """Return what a client is left with of each answer case, through one proxy."""
    target = ScriptedTarget(_answer_and_end)
    try:
        if name in OTHERS:
            proxy = start_other(processes, target, name, directory)
        else:
            proxy = start_ours(processes, target, name)
        return [judge_answer(proxy, number) for number in range(len(ANSWERS))]
    finally:
        target.close()


def _answer_and_end(connection: Connection) -> None:
    # It ends behind each case: other proxies wait long for the rest of what they don't understand.
    number = path_of(connection.head() or b"GET /")[1:]
    if number.isdigit():
        connection.send(ANSWERS[int(number)].data)


def ours_of_answer(content: bytes | None) -> str:
    return "502" if content is None else "cut or 502" if content is CUT else "200, whole"


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
            others = [answers_seen(name, processes, Path(directory)) for name in OTHERS]
        finally:
            processes.end_all()
    versions = f"{_version(['nginx', '-v'])}, {_version(['haproxy', '-v'])}"
    head = ["| case | known from | Interceptor | nginx | HAProxy |", "|---|---|---|---|---|"]
    requests = "\n".join([*head, *rows(columns)])
    seen = [(case, ours_of_answer(case.content), *texts) for case, *texts in zip(ANSWERS, *others, strict=True)]
    answers = "\n".join([*head, *(f"| {case.name} | {case.origin} | {' | '.join(texts)} |" for case, *texts in seen)])
    PAGE.write_text(f"{INTRODUCTION.format(versions=versions)}\n{requests}\n\n{ANSWERS_INTRODUCTION}\n{answers}\n")


if __name__ == "__main__":
    main()
