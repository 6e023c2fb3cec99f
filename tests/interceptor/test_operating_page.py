"""The documentation speaks of limits and metrics that there are, with the values that they have."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from interceptor.limits import Limits
from storage_backends.options import limit_fields

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LIMITS = {
    limit.name: (limit.default, limit.metadata["meaning"]) for limit in (*fields(Limits), *limit_fields())
}  # fmt: skip
ROW = re.compile(r"^\| `(\w+)` \| ([0-9,.]+)(?: \([^)]*\))? \| (.*) \|$", re.MULTILINE)


def test_each_limit_has_its_row() -> None:
    """Rule 7: what is bounded, by how much, and what happens then."""
    page = (ROOT / "docs" / "operating.md").read_text()
    table = page[page.index("\n## Limits\n") : page.index("\n### Memory\n")]
    rows = {name: (default, text) for name, default, text in ROW.findall(table)}
    assert rows.keys() == LIMITS.keys()
    for name, (default, meaning) in LIMITS.items():
        assert float(rows[name][0].replace(",", "")) == default, name
        assert rows[name][1].replace("`", "").startswith(meaning), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_each_metric_that_is_named_is_there(document: Path) -> None:
    known = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    named = set(re.findall(r"\b((?:interceptor|process)_[a-z_]+[a-z])\b(?!\.py)", document.read_text()))
    of_controller = {name for name in named if name.startswith("interceptor_controller_")}
    histograms = {f"{name}_{part}" for name in known for part in ("bucket", "sum", "count")}
    assert named - of_controller <= known | histograms
