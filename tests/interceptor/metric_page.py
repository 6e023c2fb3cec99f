"""docs/metrics.md, from what a running sidecar shows: `python -m tests.interceptor.metric_page > docs/metrics.md`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.interceptor.running import running

HEAD = """# The metrics

Written by `python -m tests.interceptor.metric_page > docs/metrics.md`; a test tells when `/metrics` shows others.
Counters begin at 0 with the process. What is worth an alert is in [operating](operating.md#metrics-to-alert-on),
what the controller shows in [the controller](controller.md#metrics).

| metric | type | labels | means |
|---|---|---|---|
"""
# Their values are the names of the limits, bounds of buckets, and whatever statuses there were.
OPEN_LABELS = {"limit", "status", "durability", "hot_path"}


async def metric_page() -> str:
    """Return the page."""
    async with running() as sidecar:
        # Refusals are shown by status, once there are some.
        await sidecar.send("/", fields=("Content-Length: x",))
        scraped = (await sidecar.control("GET", "/metrics")).text
    return HEAD + "".join(f"{row}\n" for row in sorted(map(_row, text_string_to_metric_families(scraped))))


def _row(family: Metric) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    name = f"{family.name}_info" if family.type == "info" else name
    return f"| `{name}` | {family.type} | {', '.join(_labels(family))} | {family.documentation.removesuffix('.')} |"


def _labels(family: Metric) -> Iterator[str]:
    for label in family.samples[0].labels:
        if label == "le":
            continue
        values = sorted({sample.labels[label] for sample in family.samples})
        yield f"`{label}`" if label in OPEN_LABELS else f"`{label}`: {', '.join(values)}"


if __name__ == "__main__":
    print(asyncio.run(metric_page()), end="")
