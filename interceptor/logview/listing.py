"""The segments of a file log, or the logs of a database, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from interceptor.logview.drawing import bytes_text
from interceptor.logview.lines import time_text
from storage_backends.file.inspection import SegmentInspection, damages_of, inspected_segments
from storage_backends.postgres.view import list_logs


def list_directory(directory: Path, progress: Callable[[int, int], None]) -> list[dict[str, Any]]:
    """Read all segments; return what each of them holds. Raises LogConfigurationError."""
    segments = inspected_segments(directory)
    total_bytes = sum(segment.size_bytes for segment in segments)
    read: list[SegmentInspection] = []
    for segment in segments:
        try:
            for _ in segment.blocks():
                pass
        except FileNotFoundError:
            # Trimmed meanwhile.
            continue
        progress(segment.size_bytes, total_bytes)
        read.append(segment)
    damaged = {Path(damage.place) for damage in damages_of(read)}
    return [_row(segment, is_damaged=segment.path in damaged, is_last=segment is read[-1]) for segment in read]


def _row(segment: SegmentInspection, *, is_damaged: bool, is_last: bool) -> dict[str, Any]:
    state = "damaged" if is_damaged else "open" if is_last else "sealed"
    return {
        "segment": segment.path.name,
        "first_version": segment.first_version,
        "last_version": segment.next_version - 1,
        "events": segment.events,
        "records": segment.records,
        "size_bytes": segment.size_bytes,
        "stored_bytes": segment.size_bytes if segment.stored_bytes is None else segment.stored_bytes,
        "first_time_ns": segment.first_time_ns,
        "last_time_ns": segment.last_time_ns,
        "state": state,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a person reads them, with their sum below."""
    lines = [
        f"{'segment':<24}  {'first':>9}  {'last':>9}  {'records':>9}  {'size':>10}  {'first event (UTC)':<23}  "
        f"{'last event (UTC)':<23}  state"
    ]
    for row in rows:
        versions = f"{row['first_version']:>9}  {row['last_version']:>9}" if row["events"] else f"{'-':>9}  {'-':>9}"
        lines.append(
            f"{row['segment']:<24}  {versions}  {row['records']:>9}  {bytes_text(row['size_bytes']):>10}  "
            f"{time_text(row['first_time_ns']):<23}  {time_text(row['last_time_ns']):<23}  {row['state']}"
            f"{_compressed_text(row)}"
        )
    total_bytes = sum(row["size_bytes"] for row in rows)
    stored_bytes = sum(row["stored_bytes"] for row in rows)
    events, records = sum(row["events"] for row in rows), sum(row["records"] for row in rows)
    lines.append(f"{len(rows)} segments, {events} events, {records} records, {bytes_text(total_bytes)}")
    if stored_bytes != total_bytes:
        lines[-1] += f", {bytes_text(stored_bytes)} on the disk"
    return "\n".join(lines)


def _compressed_text(row: dict[str, Any]) -> str:
    return "" if row["stored_bytes"] == row["size_bytes"] else f", compressed to {bytes_text(row['stored_bytes'])}"


async def list_database(url: str) -> list[dict[str, Any]]:
    """Return what each log in the URL's schema holds. Raises LogError."""
    return [
        {
            "log": log.name,
            "first_version": log.first_version,
            "last_version": log.last_version,
            "events": log.last_version - log.first_version + 1,
            "size_bytes": log.size_bytes,
            "first_time_ns": log.first_time_ns,
            "last_time_ns": log.last_time_ns,
            "state": "open" if log.has_writer else "closed",
            "writer": log.writer,
        }
        for log in await list_logs(url)
    ]


def database_table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a person reads them, with their sum below."""
    width = max([len("log"), *(len(row["log"]) for row in rows)])
    lines = [
        f"{'log':<{width}}  {'first':>9}  {'last':>9}  {'events':>9}  {'size':>10}  {'first event (UTC)':<23}  "
        f"{'last event (UTC)':<23}  state"
    ]
    for row in rows:
        versions = f"{row['first_version']:>9}  {row['last_version']:>9}" if row["events"] else f"{'-':>9}  {'-':>9}"
        written_by = f" ({row['writer']})" if row["state"] == "open" else ""
        lines.append(
            f"{row['log']:<{width}}  {versions}  {row['events']:>9}  {bytes_text(row['size_bytes']):>10}  "
            f"{time_text(row['first_time_ns']):<23}  {time_text(row['last_time_ns']):<23}  {row['state']}{written_by}"
        )
    total_bytes, events = sum(row["size_bytes"] for row in rows), sum(row["events"] for row in rows)
    lines.append(f"{len(rows)} logs, {events} events, {bytes_text(total_bytes)}")
    return "\n".join(lines)
