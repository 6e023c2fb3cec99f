"""The control endpoints: JSON out, errors as problem details (RFC 9457), a bearer token where one is configured."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from interceptor.limits import Limits
from interceptor.states import Cause
from tests.interceptor.fakes import ok, until
from tests.interceptor.running import Answer, running
from tests.interceptor.target import Connection, ScriptedTarget, echo

ENDPOINTS = {
    "/state": {"GET", "HEAD", "POST"}, "/checkpoint": {"DELETE", "GET", "HEAD", "POST"}, "/reproject": {"POST"},
    "/metrics": {"GET", "HEAD"}, "/healthz": {"GET", "HEAD"}, "/readyz": {"GET", "HEAD"},
}  # fmt: skip


def assert_problem(answer: Answer, status: int, *words: str) -> None:
    """RFC 9457 §3."""
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    for word in words:
        assert word in problem["detail"]


async def test_state_shows_versions_holds_target_and_log() -> None:
    async with running() as at:
        await at.send("/a", "/b")
        shown = (await at.control("GET", "/state")).json
        assert (shown["state"], shown["reason"], shown["holds"]) == ("Active", "active", [])
        assert shown["versions"] == {"first": 1, "last": 2, "delivered": 2, "answered": 2, "durable": 2}
        assert (shown["held"], shown["in_flight"]) == (0, 0)
        assert shown["target"]["address"] == str(at.target.address)
        assert shown["target"]["incarnations"] == 1
        assert shown["log"] == {"url": "memory:", "durability": "strict", "size_bytes": shown["log"]["size_bytes"]}
        assert shown["problem"] is shown["uncertain"] is shown["last_recovery"] is None


@pytest.mark.parametrize(("waiting", "active"), [("Waiting", "Active"), ("Caching", "Proxying"), ("waiting", "ACTIVE")])
async def test_waiting_holds_and_active_lets_pass_under_both_names(waiting: str, active: str) -> None:
    """The prototype's words are accepted."""
    async with running() as at:
        answer = await at.control("POST", f"/state?state={waiting}")
        assert (answer.json["state"], answer.json["reason"], answer.json["holds"]) == ("Waiting", "held", ["operator"])
        sending = asyncio.create_task(at.send("/held"))
        await until(lambda: at.ambassador.admission.held == 1)
        assert (await at.control("GET", "/state")).json["versions"]["last"] == 0
        assert (await at.control("POST", f"/state?state={active}")).json["state"] == "Active"
        assert b"/held" in await sending


async def test_waiting_answers_once_the_lane_is_drained() -> None:
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.requests()
        await go.wait()
        connection.write(ok(b"late"))
        await connection.requests()

    async with running(script) as at:
        sending = asyncio.create_task(at.send("/slow"))
        await until(lambda: at.target.asked == [["GET /slow"]])
        waiting = asyncio.create_task(at.control("POST", "/state?state=Waiting"))
        await until(lambda: at.ambassador.machine.state.name == "DRAINING")
        assert not waiting.done()
        go.set()
        assert (await waiting).json["in_flight"] == 0
        assert b"late" in await sending
        await at.control("POST", "/state?state=Active")


async def test_a_drain_that_takes_too_long_is_504_and_requests_pass_again() -> None:
    async def script(connection: Connection) -> None:
        await connection.requests()
        await connection.reader.read()

    async with running(script, limits=Limits(drain_timeout_s=0.01)) as at:
        sending = asyncio.create_task(at.send("/never"))
        await until(lambda: at.target.asked == [["GET /never"]])
        assert_problem(await at.control("POST", "/state?state=Waiting"), 504, "drain_timeout_s", "pass again")
        assert (await at.control("GET", "/state")).json["state"] == "Active"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("query", ["", "?state=", "?state=Asleep", "?status=Active"])
async def test_a_state_that_is_none_is_400(query: str) -> None:
    async with running() as at:
        assert_problem(await at.control("POST", f"/state{query}"), 400, "Active", "Waiting")


async def test_a_checkpoint_notes_the_version_and_is_kept_over_a_restart(tmp_path: Path) -> None:
    """Rule 4, and the catalogue is part of the log's facts."""
    url = f"file://{tmp_path}/log"
    async with running(log_url=url) as at:
        assert (await at.control("GET", "/checkpoint")).json == []
        await at.send("/a", "/b")
        taken = await at.control("POST", "/checkpoint")
        assert taken.status == 201
        assert (taken.json["id"], taken.json["version"], taken.json["engine"]) == ("mark-1", 2, "mark")
        assert taken.json["blackout_s"] >= 0
        assert (await at.control("GET", "/state")).json["state"] == "Active"
    async with running(log_url=url) as at:
        second = (await at.control("POST", "/checkpoint")).json
        assert second["id"] == "mark-2"
        assert (await at.control("GET", "/checkpoint")).json == [taken.json, second]


async def test_without_a_target_there_is_nothing_to_checkpoint() -> None:
    async with running() as at:
        at.ambassador.recovery.confirm = lambda: True  # type: ignore[method-assign]
        at.ambassador.machine.apply(Cause.TARGET_LOST)
        assert_problem(await at.control("POST", "/checkpoint"), 409, "awaiting the target")


async def test_reproject_of_an_incarnation_that_is_in_step_is_refused_or_nothing() -> None:
    """Rule 3: exactly once to each incarnation."""
    async with running() as at:
        await at.send("/a")
        answer = (await at.control("POST", "/reproject")).json
        assert (answer["events"], answer["already_in_step"]) == (0, True)
        assert_problem(await at.control("POST", "/reproject?from=1"), 409, "apply them twice", "target=")
        assert at.target.asked == [["GET /a"]]


async def test_reproject_into_a_scratch_copy() -> None:
    """Time travel: the state at version n, while live traffic goes on."""
    async with running() as at, ScriptedTarget(echo) as copy:
        await at.send("/a", "/b", "/c")
        answer = await at.control("POST", f"/reproject?target=http://{copy.address}&to=2")
        assert (answer.json["from"], answer.json["to"], answer.json["events"]) == (1, 2, 2)
        assert answer.json["divergences"] == 0
        assert copy.asked == [["GET /a", "GET /b"]]
        lines = await at.control(
            "POST", f"/reproject?target=http://{copy.address}&from=3", Accept="application/x-ndjson"
        )
        assert lines.headers["Content-Type"] == "application/x-ndjson"
        last = json.loads(lines.text.splitlines()[-1])
        assert (last["done"], last["events"], last["from"]) == (True, 1, 3)
        assert copy.asked[-1] == ["GET /c"]


async def test_a_scratch_copy_that_is_not_there_is_said_in_both_forms() -> None:
    async with ScriptedTarget(echo) as gone:
        nowhere = gone.address
    async with running() as at:
        await at.send("/a")
        path = f"/reproject?target=http://{nowhere}"
        assert_problem(await at.control("POST", path), 502, str(nowhere))
        lines = (await at.control("POST", path, Accept="application/x-ndjson")).text.splitlines()
        assert str(nowhere) in json.loads(lines[-1])["error"]


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("from=0", 400, "from=0"), ("from=x", 400, "from=x"), ("from=-1", 400, "from=-1"),
        ("from=%C2%B2", 400, "from="),
        ("from=" + "9" * 5_000, 400, "from="), ("to=1", 400, "target="), ("target=ftp://x", 400, "--target"),
        ("target=http://[", 400, "--target"), ("target=http://127.0.0.1:9&to=99", 409, "to=99"),
        ("target=http://127.0.0.1:9&from=99", 409, "from=99"), ("target=http://127.0.0.1:9&from=2&to=1", 409, "to=1"),
    ],
)  # fmt: skip
async def test_bad_parameters_are_named(query: str, status: int, word: str) -> None:
    async with running() as at:
        await at.send("/a", "/b")
        assert_problem(await at.control("POST", f"/reproject?{query}"), status, word)


async def test_the_live_target_is_no_scratch_copy() -> None:
    async with running() as at:
        await at.send("/a")
        answer = await at.control("POST", f"/reproject?target=http://{at.target.address}")
        assert_problem(answer, 409, "live target")


async def test_liveness_and_readiness() -> None:
    """Ready while it is able to hold: a recovery does not take the Pod out of its Service."""
    async with running() as at:
        assert (await at.control("GET", "/readyz")).json == {"ready": True, "state": "Active"}
        assert (await at.control("GET", "/healthz")).json == {"status": "ok"}
        await at.control("POST", "/state?state=Waiting")
        assert (await at.control("GET", "/readyz")).status == 200
        at.ambassador.machine.apply(Cause.LOG_FAILED)
        assert (await at.control("GET", "/readyz")).status == 503
        assert (await at.control("GET", "/healthz")).status == 503
        assert_problem(await at.control("POST", "/state?state=Active"), 409, "restart the ambassador")
        assert_problem(await at.control("POST", "/checkpoint"), 409, "restart the ambassador")
        assert_problem(await at.control("POST", "/reproject"), 409, "restart the ambassador")


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_other_methods_are_405_with_allow(path: str) -> None:
    """RFC 9110 §15.5.6."""
    async with running() as at:
        answer = await at.control("PATCH", path)
        assert_problem(answer, 405, path)
        assert set(answer.headers["Allow"].split(",")) == ENDPOINTS[path]


async def test_other_paths_are_404() -> None:
    async with running() as at:
        assert_problem(await at.control("GET", "/nothing"), 404, "/nothing")


@pytest.mark.parametrize(
    ("authorization", "accepted"),
    [
        ("Bearer s3cret", True), ("bearer s3cret", True), ("Bearer wrong", False), ("Bearer s3cret2", False),
        ("Basic s3cret", False), ("s3cret", False), ("Bearer", False), ("Bearer s3cr\udcff\udcfet", False),
    ],
)  # fmt: skip
async def test_the_token_is_asked_for_everywhere_but_by_the_probes(authorization: str, accepted: bool) -> None:
    """RFC 6750 §2.1, §3; the scheme's case does not matter (RFC 9110 §11.1)."""
    async with running(admin_token="s3cret") as at:
        for path in ("/healthz", "/readyz"):
            assert (await at.control("GET", path)).status == 200
        for path in ("/state", "/metrics", "/nothing"):
            assert_problem(await at.control("GET", path), 401, "bearer token")
        refused = await at.control("POST", "/state?state=Waiting")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        host, port = str(at.admin.address).split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {authorization}\r\n\r\n"
        writer.write(head.encode(errors="surrogateescape"))
        answer = await reader.read()
        writer.close()
        assert int(answer[9:12]) == (200 if accepted else 401)


async def test_what_is_not_foreseen_shows_nothing_of_the_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as at:
        monkeypatch.setattr("interceptor.admin.app.state_document", lambda ambassador: 1 / 0)
        answer = await at.control("GET", "/state")
        assert_problem(answer, 500, "not foreseen")
        assert "division" not in answer.text


async def test_the_admin_on_the_same_port_shadows_its_paths_only() -> None:
    """--admin same, as the prototype had it."""
    async with running(admin_same=True, admin_token="s3cret") as at:
        shown = await at.send("/state", fields=("Authorization: Bearer s3cret",))
        assert b'"state": "Active"' in shown
        assert (await at.send("/other")).endswith(b"/other")
        assert at.target.asked == [["GET /other"]]
        assert at.ambassador.journal.last_version == 1


async def test_a_password_in_the_logs_url_is_not_shown() -> None:
    async with running() as at:
        object.__setattr__(at.ambassador.settings, "log_url", "postgresql://me:s3cret@db/log")
        assert (await at.control("GET", "/state")).json["log"]["url"] == "postgresql://me:***@db/log"


async def test_a_target_that_dies_during_the_drain_is_not_checkpointed() -> None:
    """Rule 4: a checkpoint at n holds the effects of exactly 1…n, and there is nobody who holds them."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        await connection.reader.read()

    async with running(script, limits=Limits(drain_timeout_s=0.5)) as at:
        sending = asyncio.create_task(at.send("/in-flight"))
        await until(lambda: at.target.asked == [["GET /in-flight"]])
        taking = asyncio.create_task(at.control("POST", "/checkpoint"))
        await until(lambda: at.ambassador.machine.state.name == "DRAINING")
        at.ambassador.machine.apply(Cause.CONNECTION_LOST)
        at.ambassador.machine.apply(Cause.TARGET_LOST)
        answer = await taking
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert answer.status in (409, 502)
        assert at.ambassador.checkpoints.catalogue.entries == []


async def test_an_event_that_is_not_quarantined_can_not_be_taken_out_of_it() -> None:
    async with running() as at:
        at.ambassador.recovery.quarantined.versions.add(7)
        refused = await at.control("POST", "/unquarantine?version=3")
        assert refused.status == 409
        assert "quarantined are: 7" in refused.json["detail"]
        assert (await at.control("POST", "/unquarantine")).status == 400
        assert (await at.control("POST", "/unquarantine?version=7")).json["quarantined"] == []
