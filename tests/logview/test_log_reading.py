"""ls, show, tail, stats, verify on a log that nobody writes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from interceptor.cli.main import cli
from interceptor.errors import ConfigurationError
from interceptor.logview.errors import LogViewError
from storage_backends.errors import LogError
from storage_backends.file.segment import HEADER_BYTES
from storage_backends.file.tolerant_view import TolerantFileView

Log = Callable[..., Result]


def shown(result: Result) -> list[int]:
    """Return the versions of the lines below the heading."""
    return [int(line.split()[0]) for line in result.stdout.splitlines()[1:]]


def objects(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_ls(log: Log, place: Path) -> None:
    rows = json.loads(log("ls", "--json").stdout)
    assert [row["segment"] for row in rows] == sorted(path.name for path in place.glob("*.log"))
    assert sum(row["records"] for row in rows) == 12
    assert [row["state"] for row in rows] == ["sealed"] * (len(rows) - 1) + ["open"]
    assert (rows[0]["first_version"], rows[-1]["last_version"]) == (1, 6)
    assert rows[0]["size_bytes"] == (place / rows[0]["segment"]).stat().st_size
    table = log("ls").stdout
    assert "2025-10-09T08:53:21.000" in table
    assert "6 events, 12 records" in table


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [1, 2, 3, 4, 5, 6]),
        (["--from", "3"], [3, 4, 5, 6]),
        (["--to", "2"], [1, 2]),
        (["--from", "2", "--to", "4"], [2, 3, 4]),
        (["--last", "2"], [5, 6]),
        (["--to", "4", "--last", "2"], [3, 4]),
        (["--method", "post"], [2, 4]),
        (["--method", "POST", "--method", "PUT"], [2, 3, 4]),
        (["--method", "POST", "--last", "1"], [4]),
        (["--path", "/cart/*"], [1, 2, 3, 5]),
        (["--path", "/cart/?"], [1, 3, 5]),
        (["--path", "/cart/[2-9]"], [3]),
        (["--path", "/cart"], []),
        (["--status", "2xx"], [1, 2, 6]),
        (["--status", "500"], [3]),
        (["--status", "none"], [4, 5]),
        (["--status", "5xx", "--status", "201"], [2, 3]),
        (["--status", "2xx", "--method", "GET", "--path", "/h*"], [6]),
        (["--from", "7"], []),
    ],
)
def test_show_filters(log: Log, options: list[str], expected: list[int]) -> None:
    assert shown(log("show", *options)) == expected
    assert [line["version"] for line in objects(log("show", "--json", *options))] == expected


def test_show_tells_outcomes_and_quarantines(log: Log) -> None:
    lines = log("show").stdout.splitlines()
    assert lines[1].split()[1:] == [
        "2025-10-09T08:53:21.000",
        "GET",
        "/cart/1?secret=no",
        "200",
        "2",
        "0000000000000def",
    ]
    assert "QUARANTINED: it died each time" in lines[4]
    assert lines[5].split()[-3:] == ["-", "-", "-"]


def test_bodies_are_decoded(log: Log) -> None:
    text = log("show", "--body").stdout
    assert "café" in text
    assert '{"size": "XL"}' in text
    assert "(chunked; gzip)" in text
    assert "89 50 4e 47" in text
    assert ".PNG" in text
    assert "\x1b" not in text
    contents = {line["version"]: line.get("content") for line in objects(log("show", "--json", "--body"))}
    assert contents == {1: "", 2: "café\n", 3: '{"size": "XL"}', 4: None, 5: "", 6: ""}


def test_secrets_are_hidden_unless_they_are_asked_for(log: Log) -> None:
    hidden = log("show", "--body").stdout
    assert "Authorization: ***" in hidden
    assert "cookie: ***" in hidden
    assert "s3cret" not in hidden
    lines = objects(log("show", "--json", "--body"))
    assert [line.get("redacted") for line in lines] == [True, None, None, None, None, None]
    assert "Bearer s3cret" in log("show", "--body", "--show-secrets").stdout
    other = objects(log("show", "--json", "--body", "--redact-header", "x-token"))
    assert "Bearer s3cret" in str(other[0]["head"])
    assert base64.b64decode(str(other[2]["body_base64"])).endswith(b"\r\n0\r\nX-Token: ***\r\n\r\n")
    assert other[2]["redacted"] is True


def test_tail(log: Log) -> None:
    assert shown(log("tail")) == [1, 2, 3, 4, 5, 6]
    assert shown(log("tail", "-n", "2")) == [5, 6]
    assert shown(log("tail", "-n", "0")) == []
    assert [line["version"] for line in objects(log("tail", "--json", "-n", "1"))] == [6]


def test_tail_shows_no_more_than_asked_for_while_the_log_grows(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that come between the look at the log's end and the reading displace older ones."""
    monkeypatch.setattr(TolerantFileView, "find_last_version", lambda _source: 4)
    assert shown(log("tail", "-n", "2")) == [5, 6]
    assert shown(log("show", "--last", "2")) == [5, 6]


def test_stats(log: Log) -> None:
    numbers = json.loads(log("stats", "--json").stdout)
    assert numbers["methods"] == {"GET": 2, "POST": 2, "PUT": 1, "DELETE": 1}
    assert numbers["statuses"] == {"2xx": 3, "5xx": 1, "none": 2}
    assert numbers["path_prefixes"] == {"/cart/*": 4, "/upload/*": 1, "/health": 1}
    assert (numbers["events"], numbers["first_version"], numbers["last_version"]) == (6, 1, 6)
    assert sum(numbers["times"]["counts"]) == sum(numbers["sizes"].values()) == 6
    text = log("stats").stdout
    assert "█" in text
    assert "events per" in text
    assert json.loads(log("stats", "--json", "--path", "/health").stdout)["events"] == 1
    assert log("stats", "--path", "/nothing").stdout == "no events\n"


def test_verify_of_a_good_log(log: Log) -> None:
    text = log("verify").stdout
    assert "1 to 6: 6 events, 12 records" in text
    assert "4 of 6 events have one; none: 4 to 5" in text
    assert "quarantined  4" in text
    assert "good" in text
    assert json.loads(log("verify", "--json").stdout)["good"] is True


def test_verify_names_every_damage(log: Log, place: Path) -> None:
    first, second, *_ = sorted(place.glob("*.log"))
    flip(first, HEADER_BYTES + 80)
    flip(second, 5)
    text = log("verify", code=1).stdout
    damages = [line for line in text.splitlines() if line.startswith("DAMAGED")]
    assert any(f"{first} at byte " in line for line in damages)
    assert any(f"{second} at byte 0" in line for line in damages)
    assert {row["state"] for row in json.loads(log("ls", "--json").stdout)} >= {"damaged"}
    assert json.loads(log("verify", "--json", code=1).stdout)["damages"]


def test_verify_sees_a_lost_end_by_the_facts(log: Log, place: Path) -> None:
    (place / "FACTS.json").write_text('{"clean_stop": 9}')
    assert "ends at 6: its end is lost" in log("verify", code=1).stdout


def test_show_delivers_what_is_before_a_damage(log: Log, place: Path) -> None:
    last = sorted(place.glob("*.log"))[-1]
    data = last.read_bytes()
    last.write_bytes(data[:HEADER_BYTES] + bytes(8) + data[HEADER_BYTES + 8 :])
    with pytest.raises(LogViewError, match="interceptor log verify --log file:"):
        log("show")
    assert "1 to" in log("verify", code=1).stdout


@pytest.mark.parametrize("command", ["show", "tail", "stats", "export"])
def test_an_end_that_is_lost_is_no_success(log: Log, place: Path, command: str) -> None:
    """Rule 8: what is left is shown, and nobody takes it for the whole, as a copy by `export` least of all."""
    (place / "FACTS.json").write_text(json.dumps({"clean_stop": 9}))
    with pytest.raises(LogViewError, match=r"event 9 was in the log once .* ends at 6: its end is lost"):
        log(command)
    assert shown(log("show", "--to", "6")) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("command", ["ls", "show", "tail", "verify", "stats", "export", "repair"])
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory:", "lives in the memory of the process"),
        ("nowhere:x", "known schemes are"),
        ("file:{tmp}/missing", "the directory does not exist"),
        ("file:{tmp}/empty", "the directory is empty"),
        ("file:{tmp}/foreign", "it holds 'app.db' and no segment"),
        ("file:{tmp}/foreign/app.db", "it is a file"),
    ],
)
def test_what_is_no_log_is_one_sentence(log: Log, tmp_path: Path, command: str, url: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "app.db").touch()
    with pytest.raises((LogViewError, LogError), match=says):
        log(command, "--log", url.format(tmp=tmp_path))
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == ["app.db"]
    assert not list((tmp_path / "empty").iterdir())


def test_bad_filters_are_one_sentence(log: Log) -> None:
    for options in (("--status", "9"), ("--from", "3", "--to", "2"), ("--redact-header", "a b")):
        with pytest.raises(LogViewError):
            log("show", *options)


def test_a_trimmed_version_is_told(log: Log, place: Path) -> None:
    first, second, *_ = sorted(place.glob("*.log"))
    first.unlink()
    begin = int(second.name.removesuffix(".log"))
    assert shown(log("show"))[0] == begin
    with pytest.raises(LogError, match="was trimmed"):
        log("show", "--from", "1")
    with pytest.raises(LogViewError, match=f"begins with version {begin}"):
        log("show", "--to", "1")
    note_checkpoint(place, begin - 1, holds_state=True)
    assert f"(events below {begin} were trimmed)" in log("verify").stdout


def note_checkpoint(place: Path, version: int, *, holds_state: bool) -> None:
    entry = {"id": "http-1", "version": version, "engine": "http", "time": 1.0, "holds_state": holds_state}
    (place / "FACTS.json").write_text(json.dumps({"checkpoints": [entry]}))


@pytest.mark.parametrize(("checkpoint", "holds_state"), [(None, False), (-2, True), (-1, False)])
def test_a_beginning_that_nobody_may_have_trimmed_is_damage(
    log: Log, place: Path, checkpoint: int | None, holds_state: bool
) -> None:
    """Rule 8: without it and without a checkpoint that holds it no recovery is possible, so the log is not good."""
    first, second, *_ = sorted(place.glob("*.log"))
    first.unlink()
    begin = int(second.name.removesuffix(".log"))
    if checkpoint is not None:
        note_checkpoint(place, begin + checkpoint, holds_state=holds_state)
    result = log("verify", code=1)
    gone = "event 1 is missing" if begin == 2 else f"the events 1 to {begin - 1} are missing"
    assert gone in result.stdout + result.stderr
    assert f"(events below {begin} are missing)" in result.stdout
    unrepaired = log("repair", "--yes", code=1)
    assert f"NOT REPAIRABLE  {place}" in unrepaired.stderr


def test_every_command_has_examples() -> None:
    group = cli.commands["log"]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"interceptor log {name}" in (command.help or ""), name


def test_the_log_may_come_from_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERCEPTOR_LOG", f"file:{place}")
    result = CliRunner().invoke(cli, ["log", "verify"], catch_exceptions=False)
    assert result.exit_code == 0


def test_the_log_may_come_from_a_file_that_goes_before_the_environment(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `interceptor run`: in a Pod the environment names the image's own place."""
    (tmp_path / "url").write_text(f"file:{place}\n")
    monkeypatch.setenv("INTERCEPTOR_LOG", f"file:{tmp_path}/nothing")
    result = CliRunner().invoke(cli, ["log", "verify", "--log-url-file", str(tmp_path / "url")], catch_exceptions=False)
    assert result.exit_code == 0
    with pytest.raises(ConfigurationError, match="--log-url-file nowhere"):
        CliRunner().invoke(cli, ["log", "verify", "--log-url-file", "nowhere"], catch_exceptions=False)


def test_broken_facts_do_not_hide_the_events(log: Log, place: Path) -> None:
    (place / "FACTS.json").write_text("{")
    assert shown(log("show")) == [1, 2, 3, 4, 5, 6]
    assert "FACTS.json at byte 0" in log("verify", code=1).stdout
