"""The attacks are what they say, and the honest clients beside them get every answer."""

import asyncio
from pathlib import Path

import pytest

from bench.attack import Plan, measure_attacks
from bench.attackers import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_honest_clients_are_served(kind: str, tmp_path: Path) -> None:
    plan = Plan((kind,), clients=2, rate=50, hostile=20, flood_rate=200, seconds=0.3, rounds=1)
    shown: list[str] = []
    (row,) = asyncio.run(measure_attacks(plan, tmp_path, shown.append))
    assert row.failed == 0
    assert len(row.quiet_s) == len(row.attacked_s) == pytest.approx(15, abs=2)
    assert shown[0].startswith(kind)
