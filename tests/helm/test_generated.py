"""What follows from something else is current: the README's table from values.yaml, the schema from the options."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from helm import generate

REPAIR = "run: python helm/generate.py"


def test_the_readme_is_current() -> None:
    assert generate.readme_text() == generate.README.read_text(), REPAIR


def test_the_schema_of_the_options_is_current() -> None:
    assert generate.schema_text() == generate.SCHEMA.read_text(), REPAIR


def test_each_value_is_explained() -> None:
    text = (generate.CHART / "values.yaml").read_text()
    explained = {value.path for value in generate.read_values(text)}
    for path in _leaves(yaml.safe_load(text)):
        parts = path.split(".")
        assert any(".".join(parts[:length]) in explained for length in range(1, len(parts) + 1)), path


def _leaves(values: dict[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value and path != "networkPolicy.controller":
            yield from _leaves(value, f"{path}.")
        else:
            yield path
