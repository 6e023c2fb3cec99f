"""The options of `interceptor run` as JSON, for programs that check them without importing us.

`python -m interceptor.cli.option_table > controller/options.json`
"""

from __future__ import annotations

import json

import click

from interceptor.cli.run import run_command

# The form of texts that have one; what is said where a value has another.
FORMS = {
    "order": ("total|arrival|key:(header|cookie|path):.+", "total, arrival or key:path:/rooms/{key}/*"),
    "bypass": (r"[^:\s]+:[*/]\S*", "METHOD:GLOB, such as GET:/events/*"),
    "retain": ("all|checkpoints:[0-9]+|time:[0-9]+[smhd]", "all, checkpoints:3 or time:7d"),
}


def option_table() -> dict[str, dict[str, object]]:
    """Return for each option its kind (flag, integer, number, choice, file or text) and what bounds it."""
    return {
        parameter.opts[0].removeprefix("--"): _described(parameter)
        for parameter in run_command.params
        if isinstance(parameter, click.Option)
    }


def _described(option: click.Option) -> dict[str, object]:
    described: dict[str, object] = {"multiple": True} if option.multiple else {}
    kind = option.type
    if option.is_flag:
        return {**described, "kind": "flag"}
    if isinstance(kind, click.IntRange | click.FloatRange):
        name = "integer" if isinstance(kind, click.IntRange) else "number"
        return {**described, "kind": name, "min": kind.min, "above_min": kind.min_open}
    if isinstance(kind, click.Choice):
        return {**described, "kind": "choice", "choices": list(kind.choices)}
    if option.name in FORMS:
        form, expected = FORMS[option.name]
        described |= {"form": form, "expected": expected}
    return {**described, "kind": "file" if isinstance(kind, click.Path) else "text"}


if __name__ == "__main__":
    print(json.dumps(option_table(), indent=1))
