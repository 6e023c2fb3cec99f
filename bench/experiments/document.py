"""The report: each section's rows as JSON (and CSV) beside the document, its figures, and its table between two marks.

Measuring and writing are two steps, so that a text can be changed without a machine, and one section measured again.
"""

import csv
import json
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.experiments.machine import describe_machine, machine_facts
from bench.experiments.sections import Progress, Scale, Section

DOCUMENT = "performance.md"
DATA = "performance"
FIGURES = "img"


class DocumentError(Exception):
    """The document lacks a section's marks."""


def measure_sections(
    sections: Sequence[Section], scale: Scale, work_dir: Path, output: Path, progress: Progress
) -> None:
    """Measure the sections one after the other; each is written down as soon as it is there.

    Raises what the measurements raise, and OSError.
    """
    data = output / DATA
    data.mkdir(parents=True, exist_ok=True)
    for section in sections:
        progress(f"== {section.name}")
        facts = machine_facts(work_dir)
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"bench-{section.name}-", dir=work_dir) as directory:
            found = section.measure(scale, Path(directory), progress)
        taken_s = round(time.monotonic() - began_s, 1)
        progress(f"== {section.name} took {taken_s} s")
        whole = {"machine": facts, "taken_s": taken_s, **found}
        (data / f"{section.name}.json").write_text(json.dumps(whole, indent=1) + "\n")
        write_csv(found["rows"], data / f"{section.name}.csv")


def write_document(sections: Sequence[Section], output: Path, progress: Progress) -> None:
    """Draw and write every section that has been measured. Raises DocumentError, PlotError or OSError."""
    document = output / DOCUMENT
    text = document.read_text()
    for section in sections:
        path = output / DATA / f"{section.name}.json"
        if not path.exists():
            progress(f"{section.name}: nothing was measured yet")
            continue
        found = json.loads(path.read_text())
        if section.draw is not None:
            section.draw(found, output / FIGURES)
        text = fill(
            text, section.name, f"{section.text(found).rstrip()}\n\n<sub>{describe_machine(found['machine'])}</sub>"
        )
    document.write_text(text)


def fill(text: str, name: str, content: str) -> str:
    """Put the content between the marks of a section, in the place of what stood there. Raises DocumentError."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    filled, count = re.subn(
        rf"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n\n{content}\n\n{end}", text, flags=re.DOTALL
    )
    if count != 1:
        raise DocumentError(f"the document must hold {begin} and {end} once; write them where the section belongs")
    return filled


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as a table that other programs read; what is no single value is JSON in its cell. Raises OSError."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list | tuple) else value
