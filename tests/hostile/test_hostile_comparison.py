"""Beside nginx and HAProxy in front of the same target: nobody is stricter than we are without a reason."""

from __future__ import annotations

import shutil

import pytest
from answer_cases import ANSWERS
from asking import Verdict
from proxies import OTHERS
from support import Processes
from table import CASES, PAGE, ours_of_answer, row, verdicts_of

# Valid by the RFC that is named, and refused by both: other reasons than where a message ends.
VALID_ALL_THE_SAME = {
    "line: absolute-form, host with comma": "RFC 3986 §3.2.2: sub-delims in a reg-name",
}


@pytest.fixture(scope="module")
def others(hostile_processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Verdict]]:
    missing = [name for name in OTHERS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed, so not compared: {', '.join(missing)}")
    return {name: verdicts_of(name, hostile_processes, tmp_path_factory.mktemp(name)) for name in OTHERS}


def test_what_both_refuse_we_refuse(others: dict[str, dict[str, Verdict]]) -> None:
    """RFC 9112 §11.2: strictness is that of the strictest that are in use."""
    laxer = [
        case.name
        for case in CASES
        if 200 in case.ours[:1] and all(200 not in verdicts[case.name].statuses[:1] for verdicts in others.values())
    ]
    assert laxer == list(VALID_ALL_THE_SAME)


def test_the_page_shows_our_verdicts() -> None:
    """docs/smuggling.md is of these cases: our column says what `ours` says, which the other tests hold us to."""
    requests, _, answers = PAGE.read_text().partition("## Hostile answers")
    lines = requests.splitlines()
    shown = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}
    expected = {case.name: row(case, [" ".join(map(str, case.ours)) or "closed"]) for case in CASES}
    for name, text in expected.items():
        assert shown.get(name, "").startswith(text), f"{name}: run python tests/hostile/table.py"
    assert set(shown) - set(expected) == {"case"}
    for each in ANSWERS:
        assert f"\n| {each.name} | {each.origin} | {ours_of_answer(each.content)} | " in answers, each.name
