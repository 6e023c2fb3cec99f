"""The experiments: what they read from other programs, how they judge, and that the report can be written."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench.build import BuildError, require_compiled
from bench.cost import Measurement, Plan, Slice
from bench.experiments import document, guard, sections, sweep
from bench.experiments.machine import describe_machine, machine_facts
from bench.experiments.memory import measure_memory
from bench.experiments.recovery import measure_recoveries
from bench.experiments.syscalls import parse_perf, parse_strace
from bench.load import LoadResult
from bench.pipeline import send_pipelined
from bench.requests import increments
from bench.subjects import start_subject
from bench.users.run import UsersError, read_result


def test_calls_are_read_from_perf_and_what_was_not_counted_is_left_out() -> None:
    text = "# started\n\n100;;raw_syscalls:sys_enter;1;100.0\n60;;syscalls:sys_enter_read;1;100.0\n"
    text += "<not counted>;;syscalls:sys_enter_futex;0;0\n"
    assert parse_perf(text) == {"total": 100, "read": 60}


def test_calls_are_read_from_strace() -> None:
    text = "% time seconds usecs/call calls errors syscall\n------ ----- ----- ---- --- ----\n"
    text += " 60.00    0.000600           6       100         2 recvfrom\n 40.00    0.0004   4   100           writev\n"
    text += "------ ----- ----- ---- --- ----\n100.00    0.001000           5       200         2 total\n"
    assert parse_strace(text) == {"recvfrom": 100, "writev": 100, "total": 200}


def measurement(ours_us: list[float], nginx_us: list[float], errors: int = 0) -> Measurement:
    load = LoadResult(1000, 1.0, 1.0, 2.0, 3.0, 4.0, {"status": errors})
    slices = [Slice("nginx", number, load, cpu_us, 5.0) for number, cpu_us in enumerate(nginx_us)]
    slices += [Slice("interceptor-memory", number, load, cpu_us, 5.0) for number, cpu_us in enumerate(ours_us)]
    return Measurement(Plan(["nginx", "interceptor-memory"], 50, 1, len(ours_us)), slices, {})


def test_a_ratio_that_is_worse_by_more_than_the_noise_is_a_regression() -> None:
    (before,) = guard.ratios(measurement([20.0, 21.0, 20.0], [20.0, 20.0, 20.0]))
    (same,) = guard.ratios(measurement([40.0, 43.0, 41.0], [40.0, 40.0, 40.0]))
    (worse,) = guard.ratios(measurement([26.0, 26.0, 25.0], [20.0, 20.0, 20.0]))
    assert [verdict.is_regression for verdict in guard.compare([before], [same])] == [False]
    assert [verdict.is_regression for verdict in guard.compare([before], [worse])] == [True]
    assert "WORSE" in guard.describe_verdicts(guard.compare([before], [worse]))


def test_a_noisy_ratio_gets_a_wider_band() -> None:
    (noisy,) = guard.ratios(measurement([20.0, 30.0, 14.0, 26.0, 20.0], [20.0] * 5))
    assert noisy.band > 0.5


def test_a_run_with_errors_is_no_measurement() -> None:
    with pytest.raises(guard.GuardError, match="errors"):
        guard.ratios(measurement([20.0], [20.0], errors=1))


def test_the_baseline_holds_ratios_and_is_refused_where_it_can_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    found = guard.ratios(measurement([20.0], [20.0]))
    guard.write_baseline(path, found)
    assert guard.read_baseline(path) == found
    path.write_text("{}")
    with pytest.raises(guard.GuardError, match="no baseline"):
        guard.read_baseline(path)


def test_an_interpreted_interceptor_is_not_measured_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.build.interceptor_build", lambda: "interceptor 1, hot path interpreted: some reason")
    monkeypatch.delenv("INTERCEPTOR_COMPILED", raising=False)
    with pytest.raises(BuildError, match="make compile"):
        require_compiled()
    monkeypatch.setenv("INTERCEPTOR_COMPILED", "0")
    assert "interpreted" in require_compiled()


def test_what_locust_has_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x_stats.csv"
    head = "Type,Name,Request Count,Failure Count,Requests/s,50%,95%,99%\n"
    path.write_text(head + "GET,/,5,0,1.0,1,2,3\n,Aggregated,10,1,2.5,10,20,30\n")
    point = read_result(path, "direct", 7)
    assert (point.requests, point.failures, point.requests_per_s, point.p99_ms) == (10, 1, 2.5, 30.0)
    path.write_text(head)
    with pytest.raises(UsersError):
        read_result(path, "direct", 7)


def test_a_section_is_filled_in_once_and_again() -> None:
    text = "a\n<!-- begin cost -->\nold\n<!-- end cost -->\nb"
    once = document.fill(text, "cost", r"new \1")
    assert once == document.fill(once, "cost", r"new \1")
    assert "old" not in once
    assert r"new \1" in once
    with pytest.raises(document.DocumentError, match="begin other"):
        document.fill(text, "other", "")


def test_the_document_has_a_place_for_every_section() -> None:
    text = (Path(document.__file__).parents[2] / "docs" / document.DOCUMENT).read_text()
    for section in sections.SECTIONS:
        document.fill(text, section.name, "")


def fake_rows() -> dict[str, Any]:
    point = {"round": 1, "generator": "wrk", "requests": 9, "p50_ms": 1.0, "p99_ms": 3.0, "max_ms": 4.0}
    return {
        "sweep": [
            {**point, "subject": name, "clients": clients, "requests_per_s": 9.0, "p95_ms": 2.0 * clients, "errors": 0}
            for name in sweep.SUBJECTS
            for clients in (50, 100)
        ],
        "recovery": [
            {
                "way": way, "events": events, "detected_s": 0.001, "target_back_s": 0.2, "total_s": events / 1e5,
                "replayed": events, "replay_s": 0.1, "slowest_client_s": 0.3, "failed": 0, "target_alone_s": 0.1,
            }
            for way in ("replay", "http")
            for events in (1000, 20_000)
        ],
    }  # fmt: skip


def test_measured_rows_become_tables_and_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / document.DATA).mkdir()
    facts = machine_facts(tmp_path)
    marks = ""
    for name, rows in fake_rows().items():
        data = {"machine": facts, "rows": rows, "missing": {"criu": "not here"}}
        (tmp_path / document.DATA / f"{name}.json").write_text(json.dumps(data))
        marks += f"<!-- begin {name} -->\n<!-- end {name} -->\n"
    (tmp_path / document.DOCUMENT).write_text(marks)
    chosen = [section for section in sections.SECTIONS if section.name in fake_rows()]
    document.write_document(chosen, tmp_path, lambda _text: None)
    text = (tmp_path / document.DOCUMENT).read_text()
    assert describe_machine(facts) in text
    assert "856.67" in text
    assert "Not measured, `criu`: not here" in text
    for figure in ("latency.svg", "throughput-latency.png", "recovery.svg"):
        assert (tmp_path / document.FIGURES / figure).stat().st_size > 1000


@pytest.mark.parametrize(("name", "program"), [("envoy", "envoy"), ("aiohttp", ""), ("floor", ""), ("tunnel", "")])
def test_what_is_measured_beside_it_forwards(name: str, program: str, tmp_path: Path) -> None:
    if program and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: pip install '.[bench]'")
    with ExitStack() as stack:
        subject = start_subject(name, tmp_path / name, stack)
        # One at a time: the floor takes each read for a whole request.
        assert send_pipelined(subject.port, increments(20, 5), window=1) > 0


def test_idle_clients_are_all_served_again(tmp_path: Path) -> None:
    (found,) = measure_memory(["interceptor-memory"], (0, 50), tmp_path, lambda _text: None)
    assert (found.served, len(found.rss_bytes)) == (50, 2)


def test_recoveries_are_measured_while_clients_go_on_and_the_state_is_compared(tmp_path: Path) -> None:
    found = measure_recoveries((200,), tmp_path, lambda _text: None)
    by_way = {row.way: asdict(row) for row in found.rows}
    assert by_way["replay"]["replayed"] >= 200 > by_way["http"]["replayed"]
    assert all(row.failed == 0 and row.target_alone_s > 0 for row in found.rows)
