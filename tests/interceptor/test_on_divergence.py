"""A replay that diverges is never silent: what is reported, what is left out, and --on-divergence stop."""

from __future__ import annotations

import shlex

import pytest

from interceptor.divergence import OnDivergence
from interceptor.divergence_report import curl_line
from interceptor.errors import ConfigurationError
from interceptor.routing import event_matcher
from storage_backends.records import Event
from tests.interceptor.fake_log import filled
from tests.interceptor.fakes import event, get, ok, until
from tests.interceptor.recovering import recovering
from tests.interceptor.running import running
from tests.interceptor.target import Connection, ScriptedTarget


async def other_answers(connection: Connection) -> None:
    while True:
        await connection.requests()
        connection.write(ok(b"something else"))


def test_the_request_is_shown_as_a_command_without_its_secrets() -> None:
    head = get("/a?b='c'", "authorization: Bearer s3cret", "Accept: */*", "Content-Length: 2", method="POST")
    words = shlex.split(curl_line(Event(7, 7, head, b"{}"), "http://127.0.0.1:80"))
    assert words == ["curl", "-i", "-X", "POST", "http://127.0.0.1:80/a?b='c'", "-H", "authorization: ***",
                     "-H", "Accept: */*", "--data-binary", "@event-7.body"]  # fmt: skip


def test_a_head_request_is_one_that_curl_does_not_wait_for() -> None:
    """RFC 9110 §9.3.2: its answer has no content, whatever it says of its length."""
    line = curl_line(Event(7, 7, b"HEAD /a HTTP/1.1\r\nHost: app\r\n\r\n", b""), "http://127.0.0.1:80")
    assert line == "curl -I http://127.0.0.1:80/a"


def test_routes_are_named_by_method_and_glob() -> None:
    matches = event_matcher("--divergence-ignore", ["GET:/time*", "*:/random"])
    assert matches(event(1, "/time?zone=utc"))
    assert matches(event(1, "/random", method="POST"))
    assert not matches(event(1, "/time", method="POST"))
    with pytest.raises(ConfigurationError, match="--divergence-ignore /time"):
        event_matcher("--divergence-ignore", ["/time"])


async def test_a_recovery_reports_version_expected_got_and_the_request() -> None:
    async with recovering(other_answers, backend=filled(12)) as rig:
        await rig.active()
        report = rig.recovery.standing.last_recovery
        assert report is not None
        assert report["divergences"] == rig.plane.counters.divergences == 12
        first = report["first_divergences"][0]  # type: ignore[index]
        assert (first["version"], first["got"]["length_bytes"]) == (1, 14)
        assert first["request"].startswith("curl -i -X GET http://127.0.0.1:")
        assert len(report["first_divergences"]) == 10  # type: ignore[arg-type]


async def test_the_fields_that_are_named_are_hidden_in_a_copys_report_and_in_a_recoverys() -> None:
    answered = iter(range(100))

    async def counting(connection: Connection) -> None:
        while True:
            await connection.requests()
            connection.write(ok(b"%d" % next(answered)))

    async with running(counting, redact_headers=("X-Key",)) as at, ScriptedTarget(other_answers) as copy:
        await at.send("/a", fields=("X-Key: s3cret", "Authorization: shown"))
        done = (await at.control("POST", f"/reproject?target=http://{copy.address}")).json
        at.target.restart()
        await until(lambda: at.ambassador.counters.recoveries == 1)
        recovery = at.ambassador.recovery.standing.last_recovery
        assert recovery is not None
        for report in (done, recovery):
            (only,) = report["first_divergences"]
            assert "X-Key: ***" in only["request"]
            assert "Authorization: shown" in only["request"]


async def test_stop_waits_for_an_operators_word_and_then_goes_on_with_the_target_as_it_is() -> None:
    """Every event was delivered: nothing is delivered again."""
    async with recovering(other_answers, backend=filled(3), on_divergence=OnDivergence.STOP) as rig:
        problem = await rig.parked()
        assert "3 of 3 replayed events were answered otherwise" in problem
        held = rig.request("/held")
        assert rig.plane.admission.held == 1
        rig.recovery.assume_in_step()
        assert await rig.answered(held) == [200]
        assert [request for asked in rig.target.asked for request in asked] == [
            "GET /1",
            "GET /2",
            "GET /3",
            "GET /held",
        ]


async def test_routes_that_are_left_out_are_counted_and_are_no_divergence() -> None:
    async with running(divergence_ignore=["GET:/time*"]) as at, ScriptedTarget(other_answers) as copy:
        await at.send("/time", "/a")
        done = (await at.control("POST", f"/reproject?target=http://{copy.address}")).json
        assert (done["compared"], done["divergences"], done["divergences_ignored"]) == (2, 1, 1)
        (only,) = done["first_divergences"]
        assert only["version"] == 2
        assert only["request"].split(" ")[4] == f"http://{copy.address}/a"
