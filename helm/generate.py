"""`python helm/generate.py`: writes what in the chart follows from something else.

- `values.schema.json`: the part `options`, from the options of `interceptor run`;
- `README.md`: the table of values, from the comments in `values.yaml` (a line that begins with `# --` is for it).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import yaml

from interceptor.cli.run import run_command

CHART = Path(__file__).parent / "interceptor-chart"
README = CHART / "README.md"
SCHEMA = CHART / "values.schema.json"
# The chart sets these from other values, so that they fit together.
SET_BY_CHART = frozenset({
    "config", "target", "listen", "admin", "admin-token-file", "log", "log-url-file", "ready-path", "shutdown-delay-s",
    "drain-timeout-s",
})  # fmt: skip

TABLE_BEGINS = "<!-- values: written by helm/generate.py -->"
TABLE_ENDS = "<!-- end of values -->"


class Value(NamedTuple):
    """One row of the table."""

    path: str
    default: Any
    text: str


def options_schema() -> dict[str, Any]:
    """Return the JSON schema of `options`: each option of `interceptor run` that is not the chart's own affair."""
    properties = {}
    for option in run_command.params:
        if isinstance(option, click.Option):
            name = option.opts[0].lstrip("-")
            if name not in SET_BY_CHART:
                properties[name] = {"description": option.help or "", **_option_type(option)}
    return {
        "type": "object",
        "description": "Options of `interceptor run`, by their names without the dashes.",
        "additionalProperties": False,
        "properties": dict(sorted(properties.items())),
    }


def _option_type(option: click.Option) -> dict[str, Any]:
    kind = option.type
    if option.is_flag:
        return {"type": "boolean"}
    if isinstance(kind, click.Choice):
        return {"enum": list(kind.choices)}
    if isinstance(kind, (click.IntRange, click.FloatRange)):
        bound = "exclusiveMinimum" if kind.min_open else "minimum"
        return {"type": "integer" if isinstance(kind, click.IntRange) else "number", bound: kind.min}
    if option.multiple:
        return {"type": ["string", "array"], "items": {"type": "string"}}
    return {"type": "string", "minLength": 1}


def schema_text() -> str:
    """Return the whole of `values.schema.json`, with `options` as they are now."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["properties"]["options"] = options_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def read_values(text: str) -> Iterator[Value]:
    """Yield what `values.yaml` says of each value: its path, default and comment, in the order of the file."""
    values = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("# ") and comment:
            comment.append(stripped.removeprefix("# "))
        elif found := re.match(r"( *)([\w-]+):", line):
            indent = len(found[1])
            path = [*(each for each in path if each[0] < indent), (indent, found[2])]
            keys = [name for _, name in path]
            if comment:
                yield Value(".".join(keys), _at(values, keys), " ".join(comment))
            comment = []


def _at(values: Any, keys: list[str]) -> Any:
    for key in keys:
        values = values[key]
    return values


def readme_text() -> str:
    """Return the whole of the chart's README, with the values as they are now."""
    before, rest = README.read_text(encoding="utf-8").split(TABLE_BEGINS)
    after = rest.split(TABLE_ENDS)[1]
    rows = ["| value | default | what |", "|---|---|---|"]
    for value in read_values((CHART / "values.yaml").read_text(encoding="utf-8")):
        default = json.dumps(value.default, ensure_ascii=False)
        rows.append(f"| `{value.path}` | `{default}` | {value.text.replace('|', chr(92) + '|')} |")
    return before + "\n".join([TABLE_BEGINS, *rows, TABLE_ENDS]) + after


def main() -> None:
    """Write both."""
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    README.write_text(readme_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
