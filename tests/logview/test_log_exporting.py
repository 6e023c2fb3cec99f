"""export, import, repair by the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from interceptor.logview.errors import LogViewError
from storage_backends import open_log
from storage_backends.conformance import read_all
from storage_backends.errors import LogLockedError
from storage_backends.records import Event, Outcome, Quarantine, Record
from tests.logview.conftest import EVENTS, RECORDS

Log = Callable[..., Result]


async def contents(url: str) -> tuple[list[Record], dict[str, object]]:
    log = open_log(url)
    await log.start()
    try:
        return await read_all(log.reader(1)), dict(log.load_facts())
    finally:
        log.close()


def outcomes(records: list[Record]) -> list[Outcome]:
    return sorted(record for record in records if isinstance(record, Outcome))


def test_export_and_import_give_the_same_bytes(log: Log, tmp_path: Path) -> None:
    copy = f"file:{tmp_path}/copy"
    assert log("export", "--show-secrets", "--output", str(tmp_path / "x.jsonl")).stderr == "6 events exported\n"
    assert "6 events imported" in log("import", str(tmp_path / "x.jsonl"), "--log", copy).stdout
    records, facts = asyncio.run(contents(copy))
    assert [record for record in records if isinstance(record, Event)] == EVENTS
    recorded = [record for batch in RECORDS for record in batch]
    assert outcomes(records) == outcomes(recorded)
    assert [(r.version, r.reason) for r in records if isinstance(r, Quarantine)] == [(4, "it died each time")]
    assert facts == {"quarantined": [4]}
    again = log("export", "--show-secrets", "--log", copy).stdout
    assert again == (tmp_path / "x.jsonl").read_text()


def test_every_byte_survives(log: Log, tmp_path: Path) -> None:
    async def fill() -> None:
        source = open_log(f"file:{tmp_path}/source")
        await source.start()
        bodies = [bytes(range(256)), "ü\u2028\ud7ff".encode(), b"\xed\xa0\x80", b"\r\n\0", b""]
        source.append([Event(at, at, b"GET /\xe9%d HTTP/1.1\r\n\r\n" % at, body) for at, body in enumerate(bodies, 1)])
        source.close()

    asyncio.run(fill())
    exported = log("export", "--log", f"file:{tmp_path}/source").stdout
    (tmp_path / "x.jsonl").write_text(exported)
    log("import", str(tmp_path / "x.jsonl"), "--log", f"file:{tmp_path}/copy")
    segment = "00000000000000000001.log"
    assert (tmp_path / "copy" / segment).read_bytes() == (tmp_path / "source" / segment).read_bytes()


def test_a_redacted_export_is_refused_unless_allowed(log: Log, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    log("export", "--output", str(file))
    assert "s3cret" not in file.read_text().splitlines()[0].replace("secret=no", "")
    with pytest.raises(LogViewError, match="event 1 is redacted"):
        log("import", str(file), "--log", f"file:{tmp_path}/copy")
    assert not (tmp_path / "copy").exists()
    log("import", str(file), "--log", f"file:{tmp_path}/copy", "--allow-redacted")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{\n", "line 1 is no line"),
        ("[]\n", "line 1 is no line"),
        ('{"version": 1}\n', "'time_ns' is missing"),
        ('{"version": 2, "time_ns": 1, "head": "", "body": ""}\n', "event 2 stands where event 1 belongs"),
        ('{"version": 1, "time_ns": -1, "head": "", "body": ""}\n', "-1 is no whole number"),
        ('{"version": 1, "time_ns": 1, "head": "", "body_base64": "?"}\n', "line 1 is no line"),
        ('{"version": 1, "time_ns": 1, "head": "", "body": "", "outcome": 5}\n', "line 1 is no line"),
    ],
)
def test_a_bad_file_imports_nothing(log: Log, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(LogViewError, match=says):
        log("import", str(tmp_path / "x.jsonl"), "--log", f"file:{tmp_path}/copy")
    assert not (tmp_path / "copy").exists()


def test_import_refuses_a_log_that_is_not_empty(log: Log, tmp_path: Path) -> None:
    log("export", "--show-secrets", "--output", str(tmp_path / "x.jsonl"))
    with pytest.raises(LogViewError, match="is not empty"):
        log("import", str(tmp_path / "x.jsonl"))
    with pytest.raises(LogViewError, match="exists already"):
        log("export", "--output", str(tmp_path / "x.jsonl"))
    with pytest.raises(LogViewError, match="can't be read"):
        log("import", str(tmp_path / "missing"))


def test_har(log: Log) -> None:
    document = json.loads(log("export", "--format", "har", "--path", "/cart/*").stdout)["log"]
    assert (document["version"], document["_redacted"]) == ("1.2", True)
    entries = document["entries"]
    assert [entry["_version"] for entry in entries] == [1, 2, 3, 5]
    assert entries[0]["request"]["url"] == "http://shop.example/cart/1?secret=no"
    assert entries[0]["request"]["queryString"] == [{"name": "secret", "value": "no"}]
    assert {"name": "Authorization", "value": "***"} in entries[0]["request"]["headers"]
    assert entries[1]["request"]["postData"]["text"] == "café\n"
    assert [entry["response"]["status"] for entry in entries] == [200, 201, 500, 0]
    assert json.loads(log("export", "--format", "har", "--from", "7").stdout)["log"]["entries"] == []


def damage(place: Path) -> Path:
    last = sorted(place.glob("*.log"))[-1]
    last.write_bytes(last.read_bytes()[:85])
    return last


def test_repair_asks_and_a_dry_run_changes_nothing(log: Log, place: Path) -> None:
    damage(place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert "nothing was changed (--dry-run)" in log("repair", "--dry-run").stdout
    assert "nothing was changed" in log("repair", code=1, standard_input="n\n").stdout
    assert {path.name: path.read_bytes() for path in place.iterdir() if path.name != "LOCK"} == {
        name: data for name, data in before.items() if name != "LOCK"
    }


def test_repair_says_what_is_gone_and_the_log_is_good_again(log: Log, place: Path) -> None:
    last = damage(place)
    begin = int(last.name.removesuffix(".log"))
    text = log("repair", "--yes").stdout
    assert f"events 1 to {begin - 1}, without a gap" in text
    assert f"{last.name}.from-byte-75.damaged-" in text
    assert "incarnation socket:1" in text
    assert "is whole" in text
    assert "good" in log("verify").stdout
    assert "there is nothing to repair" in log("repair").stdout


def test_a_repaired_log_that_has_lost_its_first_event_holds_none(log: Log, place: Path) -> None:
    first = min(place.glob("*.log"))
    data = bytearray(first.read_bytes())
    data[data.index(b"GET /cart/1")] ^= 1
    first.write_bytes(data)
    assert "holds no event and is whole" in log("repair", "--yes").stdout


async def test_repair_refuses_a_log_in_use(log: Log, place: Path) -> None:
    damage(place)
    writer = open_log(f"file:{place}")
    await writer.start()
    try:
        for options in ([], ["--dry-run"]):
            with pytest.raises(LogLockedError, match=r"process \d+"):
                log("repair", *options)
    finally:
        writer.close()


def test_repair_is_for_file_logs(log: Log) -> None:
    with pytest.raises(LogViewError, match="for file logs only"):
        log("repair", "--log", "postgresql://127.0.0.1:1/x")
