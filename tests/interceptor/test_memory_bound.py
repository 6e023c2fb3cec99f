"""Rule 7: the sum of all limits is a number, and the documentation has the one of today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interceptor.limits import MIB, Limits
from interceptor.memory_bound import memory_bound_bytes
from storage_backends.options import LogOptions

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"
OPERATING, KUBERNETES = DOCUMENTS / "operating.md", DOCUMENTS / "kubernetes.md"
RING_BYTES = LogOptions().ring_bytes_max
# Within the bound of another, as an answer is within that of all answers …
PARTS_OF_OTHERS = {"target_bytes_max", "answer_memory_bytes_max"}
# … and what is in files.
FILES = {"answer_spool_bytes_max", "answers_spool_bytes_max", "checkpoint_bytes_max"}


@pytest.mark.parametrize(
    ("document", "pattern", "bound"),
    [
        (OPERATING, r"\*\*([0-9.]+) GiB\*\* by default", memory_bound_bytes(Limits(), RING_BYTES)),
        (OPERATING, r"([0-9.]+) GiB with TLS", memory_bound_bytes(Limits(), RING_BYTES, tls=True)),
        (
            OPERATING, r"`--connections-max 1000` it is ([0-9.]+) GiB",
            memory_bound_bytes(Limits(connections_max=1000), RING_BYTES),
        ),
        (
            OPERATING, r"([0-9.]+) GiB with `--tunnels-max 100` as well",
            memory_bound_bytes(Limits(connections_max=1000, tunnels_max=100), RING_BYTES),
        ),
        (KUBERNETES, r"limits together allow ([0-9.]+) GiB", memory_bound_bytes(Limits(), RING_BYTES)),
        (
            KUBERNETES, r"in `options` make it ([0-9.]+) GiB",
            memory_bound_bytes(
                Limits(connections_max=1000, tunnels_max=100, intake_bytes_max=2**26, answers_memory_bytes_max=2**26),
                RING_BYTES,
            ),
        ),
    ],
)  # fmt: skip
def test_the_documented_sum_is_the_sum(document: Path, pattern: str, bound: int) -> None:
    shown = re.search(pattern, document.read_text())
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
