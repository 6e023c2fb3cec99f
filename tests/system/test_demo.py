"""The demonstration as a newcomer starts it, and that it would notice a loss."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from interceptor.cli.demo import demo_command
from interceptor.demo.ledger import JournalCheck, Operation, check_journal, check_values
from interceptor.demo.stage import Stage

QUICK = ["--kills", "2", "--seconds-between-kills", "0.3", "--clients", "8", "--rate", "300"]


def start_demo(directory: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "interceptor", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "TMPDIR": str(directory), "PYTHONIOENCODING": "utf-8"},
    )


def number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    assert match is not None, f"{pattern!r} is not in:\n{text}"
    return int(match[1].replace(",", ""))


def assert_nothing_is_left(output: str, directory: Path) -> None:
    ports = [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", output.partition("killed at")[0])]
    assert len(ports) == 2
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert list(directory.iterdir()) == []


def test_kills_lose_nothing_and_the_account_says_so(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, *QUICK)
    output, errors = demo.communicate(timeout=60)
    assert demo.returncode == 0, output + errors
    assert errors == ""
    assert "\x1b" not in output, "escape sequences do not belong into a pipe"
    assert number(r"✓ ([\d,]+) requests answered, 0 errors", output) > 300
    increments = number(r"✓ ([\d,]+) increments", output)
    assert number(r"([\d,]+) acknowledged to clients: 0 lost, 0 doubled", output) == increments > 100
    assert number(r"([\d,]+) of them were first made by processes that are dead now", output) > 0
    assert number(r"kills: (\d+)", output) == 2
    assert number(r"([\d,]+) events replayed, 0 divergences", output) > 100
    rows = output.split("in step  slowest\n")[1].split("  Times count")[0].splitlines()
    assert len(rows) == 2
    assert "✗" not in output
    assert output.rstrip().splitlines()[-2].split()[:2] == ["interceptor", "run"]
    assert_nothing_is_left(output, tmp_path)


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, *QUICK, "--kills", "50")
    assert demo.stdout is not None
    seen = ""
    while "killed at" not in seen:
        seen += demo.stdout.readline()
    time.sleep(0.3)
    demo.send_signal(signal.SIGINT)
    rest, errors = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert "Traceback" not in errors
    assert_nothing_is_left(seen + rest, tmp_path)


def test_a_start_that_fails_is_one_line(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, *QUICK, "--log", "file:///proc/nowhere/log")
    _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert errors.startswith("interceptor: the interceptor did not start: the log can't be created")
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["lost", "doubled"])
def test_a_planted_fault_ends_non_zero(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Stage.ask_application

    async def damaged(stage: Stage, target: str) -> Any:
        answer = await ask(stage, target)
        if target == "/journal":
            return answer[:-1] if damage == "lost" else [*answer, answer[-1]]
        return answer

    monkeypatch.setattr(Stage, "ask_application", damaged)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = CliRunner().invoke(demo_command, [*QUICK, "--kills", "1"])
    assert result.exit_code == 1
    assert re.search(rf"✗ .*\b1 {damage}", result.output)
    assert "Nothing lost" not in result.output
    assert "Try next" not in result.output


OPERATIONS = {
    "a": Operation("own", sent_s=1.0, answered_s=2.0),
    "b": Operation("own", sent_s=3.0, answered_s=4.0),
    "c": Operation("shared", sent_s=3.5, answered_s=4.5),
    "unanswered": Operation("shared", sent_s=5.0),
}


class TestLedger:
    @pytest.mark.parametrize(
        "journal",
        [["a", "b", "c"], ["a", "c", "b"], ["a", "b", "c", "unanswered"]],
        ids=["in order", "concurrent ones either way", "the unanswered one applied"],
    )
    def test_what_may_be(self, journal: list[str]) -> None:
        assert check_journal(OPERATIONS, journal) == JournalCheck()

    @pytest.mark.parametrize(
        ("journal", "expected"),
        [
            (["a", "c"], JournalCheck(lost=["b"])),
            (["a", "b", "b", "c"], JournalCheck(doubled=["b"])),
            (["a", "b", "c", "unanswered", "unanswered"], JournalCheck(doubled=["unanswered"])),
            (["a", "b", "c", "stranger"], JournalCheck(unknown=["stranger"])),
            (["b", "a", "c"], JournalCheck(out_of_order=["a"])),
            (["a", "unanswered", "b", "c"], JournalCheck(out_of_order=["b", "c"])),
        ],
        ids=["lost", "doubled", "unanswered and doubled", "never sent", "late", "early"],
    )
    def test_what_may_not_be(self, journal: list[str], expected: JournalCheck) -> None:
        assert check_journal(OPERATIONS, journal) == expected

    @pytest.mark.parametrize(
        ("values", "wrong"),
        [
            ({"own": 2, "shared": 1}, []),
            ({"own": 2, "shared": 2}, []),
            ({"own": 1, "shared": 3}, ["own", "shared"]),
            ({"own": 3}, ["own", "shared"]),
            ({"own": 2, "shared": 1, "stranger": 1}, ["stranger"]),
        ],
    )
    def test_counters_stay_within_what_was_asked_for(self, values: dict[str, int], wrong: list[str]) -> None:
        assert check_values(OPERATIONS, values) == wrong
