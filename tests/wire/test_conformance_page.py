"""docs/conformance.md is a table of rules, each with a test; here the page itself is checked."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))

from answer_cases import ANSWERS
from framing_cases import FRAMING
from head_cases import HEADS

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "conformance.md"
CASES = {
    "hostile/test_hostile_requests.py": {case.name for case in [*FRAMING, *HEADS]},
    "hostile/test_hostile_answers.py": {case.name for case in ANSWERS},
}
# What RFC 9112 asks of framing and connections; no section may go missing from the page.
SECTIONS = ["2.2", "2.3", "3", "3.1", "3.2", "3.2.1", "3.2.2", "3.2.3", "3.2.4", "4", "5", "5.1", "5.2", "6", "6.1",
            "6.2", "6.3 rule 1", "6.3 rule 2", "6.3 rule 3", "6.3 rule 4", "6.3 rule 5", "6.3 rule 6", "6.3 rule 7",
            "6.3 rule 8", "7.1", "7.1.1", "7.1.2", "7.2", "7.4", "8", "9.2", "9.3", "9.3.1", "9.3.2", "9.5",
            "9.6"]  # fmt: skip

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| section")
]


def names_in(path: Path) -> set[str]:
    """Return `test`, `Class` and `Class::test` of a file."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_each_rule_has_a_test_that_exists(row: list[str]) -> None:
    section, rule, answer, tests = row
    assert section
    assert rule
    assert answer
    nodes = re.findall(r"`([^`]+)`", tests)
    assert nodes, "no test"
    for node in nodes:
        file, _, name = node.partition("::")
        name, bracket, case = name.partition("[")
        assert (TESTS / file).is_file(), node
        assert name, node
        assert name in names_in(TESTS / file), node
        if bracket:
            assert case.removesuffix("]") in CASES[file], node


def test_no_section_is_missing() -> None:
    listed = {row[0].removeprefix("§") for row in ROWS}
    assert [section for section in SECTIONS if section not in listed] == []
