"""Rule 7: the sum of all limits is a number, and the documentation has the one of today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interceptor.limits import MIB, Limits
from interceptor.memory_bound import memory_bound_bytes
from storage_backends.options import LogOptions

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
RING_BYTES = LogOptions().ring_bytes_max
# Within the bound of another, as an answer is within that of all answers …
PARTS_OF_OTHERS = {"target_bytes_max", "answer_memory_bytes_max"}
# … and what is in files.
FILES = {"answer_spool_bytes_max", "answers_spool_bytes_max", "checkpoint_bytes_max"}


@pytest.mark.parametrize(
    ("pattern", "bound"),
    [
        (r"\*\*([0-9.]+) GiB\*\* by default", memory_bound_bytes(Limits(), RING_BYTES)),
        (r"([0-9.]+) GiB with TLS", memory_bound_bytes(Limits(), RING_BYTES, tls=True)),
        (r"`--connections-max 1000` it is ([0-9.]+) GiB", memory_bound_bytes(Limits(connections_max=1000), RING_BYTES)),
    ],
)
def test_the_documented_sum_is_the_sum(pattern: str, bound: int) -> None:
    shown = re.search(pattern, DOCUMENT.read_text())
    assert shown is not None
    assert shown.group(1) == f"{bound / 2**30:.1f}"


@pytest.mark.parametrize(
    "name",
    [name for name in Limits.meanings() if name.endswith("_bytes_max") and name not in PARTS_OF_OTHERS | FILES],
)
def test_every_limit_in_bytes_is_part_of_the_sum(name: str) -> None:
    """A new limit has to be thought of here."""
    more = Limits(**{name: getattr(Limits(), name) + MIB})
    assert memory_bound_bytes(more, RING_BYTES) > memory_bound_bytes(Limits(), RING_BYTES)
