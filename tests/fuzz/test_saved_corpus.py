"""What fuzzing has found to be different is read again in each run; the search itself is `make fuzz`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from wire_properties import check

SAVED = sorted(path for path in (Path(__file__).parent / "corpus").iterdir() if path.is_file())


def test_there_is_a_corpus() -> None:
    assert len(SAVED) >= 100


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.name)
def test_saved_input(path: Path) -> None:
    """RFC 9112 §2 to §7: read alike however it is cut, forwarded as one message with the same content, or refused."""
    check(path.read_bytes())
