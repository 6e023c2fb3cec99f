"""`interceptor log unquarantine`: an event that was left out is given to the next incarnation again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from click.testing import CliRunner

from interceptor.cli.log import log_group
from storage_backends import open_log
from storage_backends.records import Event, Mark, Quarantine, Record


async def write_quarantined(url: str) -> None:
    log = open_log(url)
    await log.start()
    log.append([Event(1, 1, b"POST /kill HTTP/1.1\r\nHost: a\r\n\r\n", b""), Quarantine(1, 1, "it died")])
    log.store_facts({"quarantined": [1], "incarnation": "x"})
    log.close()


async def records_of(url: str) -> list[Record]:
    log = open_log(url)
    await log.start()
    reader = log.reader(1)
    found = list(await reader.next_batch(100, 1 << 20))
    reader.close()
    assert log.load_facts() == {"quarantined": [], "incarnation": "x"}
    log.close()
    return found


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(log_group, arguments)
    return result.exit_code, result.output + str(result.exception or "")


def test_an_event_is_taken_out_and_that_is_recorded(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/log"
    asyncio.run(write_quarantined(url))
    assert "QUARANTINED" in invoke("show", "--log", url)[1]
    code, output = invoke("unquarantine", "1", "--log", url)
    assert (code, "the next incarnation" in output) == (0, True)
    assert "QUARANTINED" not in invoke("show", "--log", url)[1]
    code, output = invoke("unquarantine", "1", "--log", url)
    assert code == 1
    assert "event 1 is not quarantined; quarantined are: none" in output
    marks = [record for record in asyncio.run(records_of(url)) if isinstance(record, Mark)]
    assert [(mark.kind, mark.version, mark.detail) for mark in marks] == [("unquarantined", 1, {"event": 1})]
