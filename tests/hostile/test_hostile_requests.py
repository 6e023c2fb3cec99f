"""Each hostile request through the real proxy to a strict target: refused as it should be, or read alike by everybody.

RFC 9112 §11.2 (request smuggling): no request may reach the target that another reader cuts out of the stream in
another way.  The cases and where they come from: `framing_cases`, `head_cases`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from asking import Verdict, judge, read_safely
from case import Case
from framing_cases import FRAMING
from head_cases import HEADS
from proxies import OURS, start_ours
from recording import READERS, RecordingTarget
from support import Processes, Server

CASES = [*FRAMING, *HEADS]


@dataclass
class Stand:
    """A proxy, and the target behind it that nobody else uses."""

    proxy: Server
    target: RecordingTarget

    def judge(self, case: Case) -> Verdict:
        return judge(self.proxy, self.target, case)


@pytest.fixture(scope="module")
def stands(hostile_processes: Processes) -> Iterator[dict[str, Stand]]:
    targets = {way: RecordingTarget() for way in OURS}
    yield {way: Stand(start_ours(hostile_processes, target, way), target) for way, target in targets.items()}
    for target in targets.values():
        target.close()


def read_alike(stream: bytes, readers: list[str]) -> None:
    """No reader finds other requests than h11 does; a reader may refuse one, such as a method that it does not know."""
    strict = read_safely("h11", stream)
    for name in readers:
        found = read_safely(name, stream)
        if found and found[-1][0] == b"error":
            assert found[:-1] == strict[: len(found) - 1], name
        else:
            assert found == strict, name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_recorded(stands: dict[str, Stand], case: Case) -> None:
    """The status is the right one, and what reaches the target are as many requests as it answers, to every reader."""
    verdict = stands["recorded"].judge(case)
    assert verdict.statuses == case.ours
    assert verdict.misread == []
    assert verdict.requests_read == verdict.statuses.count(200)
    for stream in verdict.streams:
        read_alike(stream, list(READERS))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bypassed(stands: dict[str, Stand], case: Case) -> None:
    """By --bypass, where content streams: the same, but half a request may have left; its connection ends with it."""
    verdict = stands["bypassed"].judge(case)
    # Content that the client has not sent to its end is no recorded request, and a mistake where it was under way.
    assert verdict.statuses == ((400,) if case.ours in ((), (413,)) else case.ours)
    assert verdict.misread == []
    assert verdict.requests_read == verdict.statuses.count(200)
    for stream in verdict.streams:
        read_alike(stream, ["h11", "llhttp"])


def test_the_target_is_still_there(stands: dict[str, Stand]) -> None:
    """After all of it, an honest request is answered, by the connection that the others went down."""
    honest = Case("honest", "", b"GET /honest HTTP/1.1\r\nHost: a\r\n\r\n", (200,))
    for stand in stands.values():
        assert stand.judge(honest).statuses == (200,)


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
