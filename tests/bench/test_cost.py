"""The cost harness: what it reads from wrk and the kernel, how it sums up, and one short run."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.cost import Measurement, Plan, Slice, measure_cost
from bench.load import LoadError, LoadResult, parse_load
from bench.pipeline import send_pipelined
from bench.report import summarise, table, to_json
from bench.requests import increments
from bench.subjects import start_subject

RESULT = (
    '{"requests":1000,"duration_us":2000000,"p50_us":1500,"p95_us":2500,"p99_us":4000,"max_us":9000,'
    '"errors":{"connect":1,"read":0,"write":0,"timeout":0,"status":2}}'
)


def test_the_result_is_found_among_what_wrk_prints() -> None:
    load = parse_load(f"Running 3s test @ http://127.0.0.1\n  1 threads\nTransfer/sec: 3MB\nWRK {RESULT}\n")
    assert (load.requests, load.duration_s, load.requests_per_s) == (1000, 2.0, 500.0)
    assert (load.p50_ms, load.p95_ms, load.p99_ms, load.max_ms) == (1.5, 2.5, 4.0, 9.0)
    assert load.errors_total == 3


@pytest.mark.parametrize(
    "output",
    [
        "",
        "unable to connect to 127.0.0.1:1 Connection refused",
        "WRK not json",
        'WRK {"requests": 1}',
        "WRK []",
        f"WRK {RESULT}\nWRK {RESULT}",
        "WRK " + RESULT.replace('"requests":1000', '"requests":0'),
        "WRK " + RESULT.replace("1500", "-nan"),
    ],
)
def test_anything_else_is_refused(output: str) -> None:
    with pytest.raises(LoadError):
        parse_load(output)


def measured(subject: str, number: int, cpu_us: float | None, p95_ms: float, errors: int = 0) -> Slice:
    load = LoadResult(1000, 1.0, p95_ms / 2, p95_ms, p95_ms * 2, p95_ms * 3, {"status": errors})
    return Slice(subject, number, load, cpu_us, 5.0)


def measurement() -> Measurement:
    slices: list[Slice] = []
    for number, (nginx_us, proxy_us) in enumerate([(20.0, 10.0), (40.0, 20.0), (10.0, 15.0)], 1):
        slices.append(measured("direct", number, None, 2.0))
        slices.append(measured("nginx", number, nginx_us, 4.0))
        slices.append(measured("interceptor-memory", number, proxy_us, 3.0, errors=number))
    plan = Plan(["direct", "nginx", "interceptor-memory"], connections=50, seconds=1, rounds=3)
    return Measurement(plan, slices, {"nginx": 2**20, "interceptor-memory": 3 * 2**20})


def test_rows_hold_medians_spreads_and_ratios_within_rounds() -> None:
    direct, nginx, proxy = summarise(measurement())
    assert (direct.cpu_us, direct.cpu_us_spread, direct.cpu_ratios, direct.rss_mib) == (None, None, {}, None)
    assert direct.p95_ratio_to_direct == 1.0
    assert (nginx.cpu_us, nginx.cpu_us_spread, nginx.cpu_ratios) == (20.0, (10.0, 40.0), {"nginx": 1.0})
    assert (proxy.cpu_us, proxy.cpu_us_spread, proxy.rss_mib) == (15.0, (10.0, 20.0), 3.0)
    assert (proxy.cpu_ratios, proxy.p95_ratio_to_direct) == ({"nginx": 0.5}, 1.5)
    assert (proxy.errors, nginx.errors) == (6, 0)


def test_ratios_need_their_reference() -> None:
    alone = Measurement(Plan(["haproxy"], 1, 1, 1), [measured("haproxy", 1, 9.0, 1.0)], {})
    (row,) = summarise(alone)
    assert (row.cpu_ratios, row.p95_ratio_to_direct, row.rss_mib) == ({}, None, None)


def test_the_table_has_a_line_for_each_subject() -> None:
    head, *lines = table(summarise(measurement())).splitlines()
    assert head.startswith("subject ")
    assert [line.split()[0] for line in lines] == ["direct", "nginx", "interceptor-memory"]
    assert "10.0…20.0" in lines[2]


def test_json_holds_everything() -> None:
    report = json.loads(to_json(measurement()))
    assert report["plan"]["rounds"] == 3
    assert len(report["rows"]) == 3
    assert len(report["slices"]) == 9
    assert report["slices"][8]["load"]["errors"] == {"status": 3}


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_short_run(tmp_path: Path) -> None:
    said: list[str] = []
    result = measure_cost(Plan(["direct"], connections=4, seconds=1, rounds=1), tmp_path, said.append)
    (row,) = summarise(result)
    assert row.errors == 0
    assert row.requests_per_s > 0
    assert row.target_cpu_us > 0
    assert said[0] == "starting direct"


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_other_proxies_start_and_forward(name: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    with ExitStack() as stack:
        subject = start_subject(name, tmp_path / name, stack)
        assert send_pipelined(subject.port, increments(20, 5), window=4) > 0
