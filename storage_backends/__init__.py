"""The log: an append-only record of events, and the places where it can be kept.

`open_log(url)` is the only thing that users need; records are in `storage_backends.records`, the protocol in
`storage_backends.backend`, and `storage_backends.conformance` is the test suite that every backend passes.
"""

from __future__ import annotations

import hotpath  # noqa: F401  before any module that it may find compiled
from storage_backends.backend import LogBackend, LogReader
from storage_backends.options import LogOptions
from storage_backends.registry import open_log

__all__ = ["LogBackend", "LogOptions", "LogReader", "open_log"]
