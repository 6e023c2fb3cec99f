"""Recovery: the same incarnation or a new one, and what may be delivered to whom (RFC 9110 §9.2.2, rules 1, 3, 8)."""

from __future__ import annotations

import asyncio

import pytest

from interceptor.states import Cause, State
from interceptor.target.errors import ListenerUnreadableError
from storage_backends.records import Mark, Outcome, Quarantine
from tests.interceptor.fake_log import filled, records_of
from tests.interceptor.fakes import FakeDetector, heads, ok, until
from tests.interceptor.recovering import recovering
from tests.interceptor.target import Connection


async def test_a_living_target_that_breaks_the_connection_gets_nothing_twice() -> None:
    """RFC 9110 §9.2.2: the clients of what was unanswered get 502, the range is reported, the next go on."""

    async def script(connection: Connection) -> None:
        if connection.number > 1:
            await connection.echo()
        await connection.requests(3)
        connection.write(ok(b"/a"))
        await connection.writer.drain()

    async with recovering(script) as rig:
        await rig.active()
        clients = rig.request("/a", "/b", "/c")
        await until(lambda: State.SUSPECT in rig.states)
        clients += rig.request("/held")
        assert await rig.answered(clients) == [200, 502, 502, 200]
        assert b"event 2 was applied" in clients[1].output
        assert rig.recovery.standing.uncertain == (2, 3)
        assert rig.plane.counters.uncertain == 2
        assert rig.target.asked[1:] == [["GET /held"]]
        assert rig.recovery.standing.incarnations == 1
        assert rig.plane.sequencer.outstanding_events == 0
        assert not records_of(rig.backend, Quarantine)


async def test_an_idle_connection_that_a_living_target_closes_costs_nothing() -> None:
    """Servers close idle connections for reasons of their own."""

    async def script(connection: Connection) -> None:
        (request,) = await connection.requests()
        connection.write(ok(request.split(" ")[1].encode()))
        if connection.number > 1:
            await connection.requests()

    async with recovering(script) as rig:
        await rig.active()
        first = rig.request("/a")
        await until(lambda: State.SUSPECT in rig.states)
        await rig.active()
        assert await rig.answered([*first, *rig.request("/b")]) == [200, 200]
        assert rig.target.asked == [["GET /a"], ["GET /b"]]
        assert rig.recovery.standing.uncertain is None
        assert rig.plane.counters.recoveries == 0


async def test_a_new_incarnation_gets_every_event_once_and_those_who_waited_their_first_answer() -> None:
    """Rules 1 and 3."""
    detector = FakeDetector()

    async def script(connection: Connection) -> None:
        if detector.identity == "life-2":
            await connection.echo()
        await connection.requests(2)
        connection.write(ok(b"/a"), ok(b"/b"))
        await connection.requests(2)
        detector.identity = None
        connection.reset()

    async with recovering(script, detector=detector) as rig:
        await rig.active()
        assert await rig.answered(rig.request("/a", "/b")) == [200, 200]
        in_flight = rig.request("/c", "/d")
        await until(lambda: rig.machine.state is State.AWAITING)
        held = rig.request("/e")
        assert rig.plane.admission.held == 1
        detector.identity = "life-2"
        assert await rig.answered(in_flight + held) == [200, 200, 200]
        assert [asked for asked in rig.target.asked if asked][1:] == [
            ["GET /a", "GET /b", "GET /c", "GET /d", "GET /e"]
        ]
        report = rig.recovery.standing.last_recovery
        assert report is not None
        assert (report["from"], report["to"], report["replayed"], report["divergences"]) == (1, 4, 2, 0)
        assert rig.recovery.standing.identity == rig.backend.facts["incarnation"] == "life-2"
        assert rig.recovery.standing.incarnations == 2
        assert rig.plane.counters.recoveries == rig.plane.counters.detection.counts.count(1) == 1
        assert rig.states[-4:] == [State.SUSPECT, State.AWAITING, State.PROJECTING, State.ACTIVE]
        rig.plane.journal.flush_outcomes()
        assert sorted(outcome.version for outcome in records_of(rig.backend, Outcome)) == [1, 2, 3, 4, 5]


async def test_a_target_that_dies_with_no_connection_open_is_noticed() -> None:
    """Nothing breaks then: the listening socket tells."""
    async with recovering(backend=filled(2), detector=FakeDetector("life-1")) as rig:
        await rig.active()
        rig.lane._drop_connection()
        rig.detector.identity = "life-2"
        await until(lambda: rig.recovery.standing.incarnations == 2)
        assert rig.target.asked == [["GET /1", "GET /2"], ["GET /1", "GET /2"]]


async def test_an_event_that_kills_the_target_again_and_again_is_quarantined() -> None:
    """quarantine_after: a tombstone, 502 to its client, and the others live."""
    detector = FakeDetector()
    lives = 1

    async def script(connection: Connection) -> None:
        nonlocal lives
        while True:
            (request,) = await connection.requests()
            if request == "GET /kill":
                lives += 1
                detector.identity = f"life-{lives}"
                connection.reset()
                return
            connection.write(ok(request.split(" ")[1].encode()))

    async with recovering(script, detector=detector, quarantine_after=3) as rig:
        await rig.active()
        clients = rig.request("/a", "/kill", "/b")
        assert await rig.answered(clients) == [200, 502, 200]
        assert b"quarantined" in clients[1].output
        assert rig.recovery.quarantined.versions == {2}
        assert [tombstone.version for tombstone in records_of(rig.backend, Quarantine)] == [2]
        assert rig.backend.facts["quarantined"] == [2]
        assert sum(asked.count("GET /kill") for asked in rig.target.asked) == 3
        assert rig.target.asked[-1] == ["GET /a", "GET /b"]
        assert rig.plane.counters.quarantined == 1
        assert rig.plane.sequencer.outstanding_events == 0


async def test_an_event_that_happens_to_be_under_way_when_somebody_kills_in_step_is_not_quarantined() -> None:
    """Rule 3: three deaths running with the same first event, and it is innocent: the killer comes without it, too."""
    detector = FakeDetector()

    async def script(connection: Connection) -> None:
        if connection.number <= 5:
            await connection.requests()
            connection.write(ok(b"/a"))
            await asyncio.sleep(0.02)
            detector.identity = f"life-{connection.number + 1}"
            connection.reset()
            return
        await connection.echo()

    async with recovering(script, detector=detector, quarantine_after=3) as rig:
        await rig.active()
        assert await rig.answered(rig.request("/a", "/innocent")) == [200, 200]
        assert rig.recovery.quarantined.versions == set()


async def test_the_innocent_neighbours_of_a_deadly_event_are_not_quarantined() -> None:
    """After a death with several under way the suspects go one at a time, which makes the blame exact."""
    detector = FakeDetector()
    lives = 1

    async def script(connection: Connection) -> None:
        nonlocal lives
        while data := await connection.reader.read(65_536):
            asked = list(heads(data))
            if "GET /kill" in asked:
                lives += 1
                detector.identity = f"life-{lives}"
                connection.reset()
                return
            connection.write(*[ok(request.split(" ")[1].encode()) for request in asked])

    async with recovering(script, detector=detector, quarantine_after=3) as rig:
        await rig.active()
        assert await rig.answered(rig.request("/a", "/kill", "/b")) == [200, 502, 200]
        assert rig.recovery.quarantined.versions == {2}
        assert lives == 5


async def test_a_supervised_target_in_doubt_is_started_anew_which_is_exact() -> None:
    """Where we supervise it, nobody gets 502 and nothing is uncertain."""

    async def script(connection: Connection) -> None:
        if connection.number > 1:
            await connection.echo()
        await connection.requests(2)
        connection.write(ok(b"/a"))
        await connection.writer.drain()

    async with recovering(script, supervised=True) as rig:
        await rig.active()
        assert await rig.answered(rig.request("/a", "/b")) == [200, 200]
        assert rig.supervisor is not None
        assert rig.supervisor.restarts == 1
        assert rig.recovery.standing.uncertain is None
        assert [asked for asked in rig.target.asked if asked][1:] == [["GET /a", "GET /b"]]


async def test_a_log_that_lacks_what_the_target_needs_parks_until_an_operator_speaks() -> None:
    """Rule 8: no silent wrong state."""
    backend = filled(3)
    backend.trim(3)
    async with recovering(backend=backend) as rig:
        problem = await rig.parked()
        assert "version 1" in problem
        assert rig.target.asked == []
        held = rig.request("/held")
        assert rig.plane.admission.held == 1
        rig.recovery.assume_in_step()
        assert await rig.answered(held) == [200]
        assert rig.target.asked[-1] == ["GET /held"]
        assert rig.recovery.standing.problem is None


async def test_a_log_that_fails_while_a_loss_is_judged_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    """Rule 9: the failed state is final, and nobody stumbles over it."""

    async def script(connection: Connection) -> None:
        await connection.requests()

    async with recovering(script) as rig:
        await rig.active()
        rig.request("/a")
        await until(lambda: rig.machine.state is State.SUSPECT)
        for _ in range(5):
            await asyncio.sleep(0)
        rig.machine.apply(Cause.LOG_FAILED)
        await until(lambda: rig.lane.pending == 0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert "recovery has failed" not in caplog.text


async def test_live_events_that_were_in_flight_when_it_parked_are_answered_after_the_operators_word() -> None:
    """Rule 3 and bounded waiting: they are in history; their clients must hear something and drains must end."""
    backend = filled(2)
    detector = FakeDetector("life-1")

    async def script(connection: Connection) -> None:
        for _ in range(2):
            (request,) = await connection.requests()
            connection.write(ok(request.split(" ")[1].encode()))
        if detector.identity == "life-1":
            await connection.requests()
            backend.trim(3)
            detector.identity = "life-2"
        else:
            await connection.echo()

    async with recovering(script, backend=backend, detector=detector) as rig:
        await rig.active()
        clients = rig.request("/live")
        await rig.parked()
        rig.recovery.assume_in_step()
        await rig.active()
        for _ in range(200):
            await asyncio.sleep(0)
        assert rig.plane.sequencer.outstanding_events == 0
        assert clients[0].output


async def test_each_new_incarnation_is_marked_in_the_log() -> None:
    async with recovering(backend=filled(1)) as rig:
        await rig.active()
        (mark,) = records_of(rig.backend, Mark)
        assert (mark.kind, mark.version, mark.detail) == ("incarnation", 1, {"identity": "life-1"})


async def test_a_detector_that_can_not_look_any_more_parks_the_recovery_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rule 8: not knowing who is there is said, and ends neither the watch nor the recovery."""
    detector = FakeDetector("life-1")
    async with recovering(backend=filled(2), detector=detector) as rig:
        await rig.active()

        def look() -> str | None:
            raise ListenerUnreadableError("127.0.0.1:8000", "the kernel does not say who listens", "Look at /proc")

        with monkeypatch.context() as blind:
            blind.setattr(detector, "look", look)
            rig.lane._drop_connection()
            assert "the kernel does not say who listens" in await rig.parked()
            assert rig.machine.state is State.AWAITING
        detector.identity = "life-2"
        await rig.active()
        assert rig.target.asked == [["GET /1", "GET /2"], ["GET /1", "GET /2"]]
