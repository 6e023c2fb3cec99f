"""Where the modules of the hot path come from: compiled by mypyc where that was done, else read as any other source.

Both are the same code.  Installing compiles the modules named here and puts the results into this folder, with a digest
of each source.  They are used only while every source is still the one that was compiled: after an edit Python reads
the sources.  It is all of them or none, because compiled modules refer to each other's classes.

`INTERCEPTOR_COMPILED=0` asks for the sources, for a debugger or a profiler.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

MODULES: tuple[str, ...] = (
    "interceptor.wire.errors",
    "interceptor.wire.grammar",
    "interceptor.wire.chunked",
    "interceptor.wire.canonical",
    "interceptor.wire.request",
    "interceptor.wire.forwarding",
    "interceptor.wire.answer",
    "interceptor.counters",
    "interceptor.exchange",
    "interceptor.passed_exchange",
    "interceptor.client_transport",
    "interceptor.client",
    "interceptor.answer_stream",
    "interceptor.passage",
    "interceptor.passages",
    "interceptor.admission",
    "interceptor.sequencer",
    "interceptor.group_commit",
    "interceptor.undurable_age",
    "interceptor.journal",
    "interceptor.release_gate",
    "interceptor.divergence",
    "interceptor.projector",
    "interceptor.lane_connection",
    "interceptor.lane",
    "storage_backends.records",
    "storage_backends.ring",
    "storage_backends.codec",
    "storage_backends.file.writer",
    "storage_backends.file.reader",
    "storage_backends.postgres.rows",
    "storage_backends.postgres.buffer",
)
"""What nearly every request passes."""

# The one part that is written in C; mypyc's code always holds the interpreter's lock.
FLUSH_LOOP = "flush_loop"
# The one shared library behind the modules; mypyc names it so.
LIBRARY = "hotpath__mypyc"
MANIFEST = "SOURCES.json"

_FOLDER = Path(__file__).parent
_ROOT = _FOLDER.parent


def source_digests(root: Path) -> dict[str, str]:
    """Return the digest of each module's source, as it is under `root`.  Raises OSError."""
    sources = {name: root.joinpath(*name.split(".")).with_suffix(".py") for name in MODULES}
    sources[FLUSH_LOOP] = root / "hotpath" / f"{FLUSH_LOOP}.c"
    return {name: hashlib.blake2b(source.read_bytes()).hexdigest() for name, source in sources.items()}


class CompiledFinder(MetaPathFinder):
    """Finds the compiled modules.  `files` are their shared objects by module name."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._files.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, str(file)))


def install() -> str:
    """Have the modules imported compiled, where that is possible; return `compiled`, or why they are read as source."""
    reason, files = _find_compiled()
    if not reason:
        sys.meta_path.insert(0, CompiledFinder(files))
    return reason or "compiled"


def _find_compiled() -> tuple[str, Mapping[str, Path]]:
    if os.environ.get("INTERCEPTOR_COMPILED", "1") == "0":
        return "interpreted: INTERCEPTOR_COMPILED=0", {}
    try:
        compiled = json.loads((_FOLDER / MANIFEST).read_bytes())
        present = source_digests(_ROOT)
    except (OSError, ValueError):
        return "interpreted: not compiled when it was installed", {}
    changed = sorted(name for name in present if compiled.get(name) != present[name])
    if changed:
        return f"interpreted: {changed[0]} is not what was compiled; install again", {}
    files = {name: _FOLDER / f"{name}{EXTENSION_SUFFIXES[0]}" for name in (LIBRARY, *MODULES)}
    if not all(file.exists() for file in (*files.values(), _FOLDER / f"{FLUSH_LOOP}{EXTENSION_SUFFIXES[0]}")):
        return f"interpreted: compiled for another Python than {sys.version.split()[0]}; install again", {}
    return "", files


execution = install()
"""How the hot path runs in this process: `compiled`, or `interpreted` and why."""
