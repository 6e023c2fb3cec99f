"""What a connection takes too long for, by a clock that the test reads out (RFC 9110 §15.5.9, design rules 6 and 7)."""

from __future__ import annotations

import pytest

from interceptor.client_deadlines import Deadlines, Phase
from interceptor.limits import Limits

LIMITS = Limits(
    rate_grace_s=5.0, head_timeout_s=30.0, body_timeout_s=300.0, body_bytes_per_s_min=10, answer_bytes_per_s_min=10,
    client_write_timeout_s=60.0,
)  # fmt: skip


def watched(kind: str, bytes_per_s: float, seconds: int) -> str | None:
    """Return what is exceeded first where bytes move at this rate, looked at once a second."""
    deadlines = Deadlines()
    for now_s in range(seconds + 1):
        name = deadlines.exceeded(Phase(kind, 1, int(now_s * bytes_per_s)), float(now_s), LIMITS)
        if name is not None:
            return name
    return None


@pytest.mark.parametrize("kind", ["body", "upload", "blocked", "closing"])
def test_who_keeps_the_minimum_rate_goes_on(kind: str) -> None:
    assert watched(kind, 11, 299) is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("body", "body_bytes_per_s_min"),
        ("upload", "body_bytes_per_s_min"),
        ("blocked", "answer_bytes_per_s_min"),
        ("closing", "answer_bytes_per_s_min"),
    ],
)
def test_who_does_not_is_found_when_the_grace_is_over(kind: str, name: str) -> None:
    assert watched(kind, 9, 4) is None
    assert watched(kind, 9, 5) == name


def test_a_body_above_the_minimum_rate_still_has_an_end() -> None:
    assert watched("body", 1_000, 300) == "body_timeout_s"


def test_a_reader_who_goes_on_taking_has_no_end() -> None:
    assert watched("blocked", 1_000, 3_000) is None


def test_each_request_has_its_own_time() -> None:
    deadlines = Deadlines()
    for now_s in range(100):
        assert deadlines.exceeded(Phase("head", now_s // 20, 100 * now_s * 60), float(now_s), LIMITS) is None
