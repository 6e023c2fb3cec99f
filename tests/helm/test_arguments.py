"""The sidecar's command line, as rendered, is one that `interceptor run` takes: every option is within reach."""

from __future__ import annotations

from pathlib import Path

import click
import yaml
from rendering import Chart, container, pod_spec

from helm import generate
from interceptor.cli.run import run_command


def parse(arguments: list[str]) -> dict[str, object]:
    """Return what the real command line makes of a container's arguments."""
    assert arguments[0] == "run"
    return run_command.make_context("run", list(arguments[1:])).params


def test_the_default_arguments_are_accepted(chart: Chart) -> None:
    options = parse(container(pod_spec(chart.render()), "interceptor")["args"])
    assert options["target"] == "http://127.0.0.1:8000"
    assert options["admin"] == "0.0.0.0:8002"
    assert options["log_url"] == "file:///var/lib/interceptor/log"


def test_every_option_is_within_reach(chart: Chart, tmp_path: Path) -> None:
    wanted: dict[str, object] = {}
    for option in run_command.params:
        name = option.opts[0].lstrip("-")
        if isinstance(option, click.Option) and name not in generate.SET_BY_CHART:
            wanted[name] = _some_value(option)
    # Of a native sidecar it is refused, since the application ends first.
    values = {"options": wanted, "interceptor": {"sidecar": "container"}}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    options = parse(container(pod_spec(chart.render(files=(file,))), "interceptor")["args"])
    for option in run_command.params:
        name = option.opts[0].lstrip("-")
        if name in wanted and option.callback is None:
            value = wanted[name]
            assert option.name is not None
            got = options[option.name]
            assert (list(got) if isinstance(got, tuple) else str(got) if isinstance(value, str) else got) == value, name


def test_control_is_where_compatibility_asks_for_it(chart: Chart) -> None:
    options = parse(container(pod_spec(chart.render("options.compat=true")), "interceptor")["args"])
    assert (options["admin"], options["compat"], options["admin_token_file"]) == ("same", True, None)


def test_large_numbers_stay_whole_and_nothing_is_expanded(chart: Chart) -> None:
    arguments = container(
        pod_spec(chart.render("options.body-bytes-max=1073741824", "options.app-version=$(HOME)")), "interceptor"
    )["args"]
    assert "--body-bytes-max=1073741824" in arguments
    assert "--app-version=$$(HOME)" in arguments


def _some_value(option: click.Option) -> object:
    kind = option.type
    if option.is_flag:
        return True
    if isinstance(kind, click.Choice):
        return kind.choices[-1]
    if isinstance(kind, click.FloatRange):
        return 12345678.5
    if isinstance(kind, click.IntRange):
        return 12345678
    if option.multiple:
        return ["GET:/a b", "*:/c"]
    return "key:path:/rooms/{key}/*" if option.name == "order" else "a: b # 'c' \"d\""
