"""The options of `interceptor run` as annotations: which there are, and whether a value fits."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

# What the controller sets itself, or what makes no sense in a Pod that it has made.
FIXED = frozenset({
    "config", "target", "listen", "listen-unix-mode", "admin", "compat", "admin-token-file", "target-server-name",
    "checkpoint-interval",
})  # fmt: skip


@cache
def option_table() -> dict[str, dict[str, Any]]:
    """Return the table that `interceptor.cli.option_table` has made."""
    table: dict[str, dict[str, Any]] = json.loads(files("controller").joinpath("options.json").read_text("utf-8"))
    return table


def arguments_of(name: str, text: str) -> list[str]:
    """Return the arguments for one option.  Raises ValueError that says what would be right."""
    option = option_table().get(name)
    if option is None:
        close = get_close_matches(name, option_table(), 1)
        raise ValueError("no such option" + (f"; did you mean crsc.io/{close[0]}?" if close else ""))
    if name in FIXED:
        raise ValueError("the controller sets this itself; leave it out")
    if option["kind"] == "file":
        raise ValueError("names a file, and the controller mounts none for you; use the Helm chart for this option")
    if option["kind"] == "flag":
        return _flag(name, text)
    values = text.split() if option.get("multiple") else [text.strip()]
    for value in values:
        _check_value(option, value)
    if not values or not values[0]:
        raise ValueError("is empty; give a value or leave it out")
    return [f"--{name}={value}" for value in values]


def _flag(name: str, text: str) -> list[str]:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r}: expected true or false")
    return [f"--{name}"] if text == "true" else []


def _check_value(option: dict[str, Any], value: str) -> None:
    if option["kind"] == "choice" and value not in option["choices"]:
        raise ValueError(f"{value!r}: expected {' or '.join(option['choices'])}")
    if "form" in option and not re.fullmatch(option["form"], value):
        raise ValueError(f"{value[:80]!r}: expected {option['expected']}")
    if option["kind"] in ("integer", "number"):
        try:
            number = int(value) if option["kind"] == "integer" else float(value)
        except ValueError:
            raise ValueError(f"{value!r}: expected a number") from None
        low = option["min"]
        if low is not None and not (number > low if option["above_min"] else number >= low):
            raise ValueError(f"{value!r}: expected {'more than' if option['above_min'] else 'at least'} {low:g}")
