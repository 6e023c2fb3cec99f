"""From a name to the checkpoint engine; the built-in ones also work from a plain checkout, without entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import cast

from interceptor.checkpoint.engine import CheckpointEngine, EngineContext, OpenEngine
from interceptor.errors import ConfigurationError

ENTRY_POINT_GROUP = "interceptor.checkpoint_engines"

BUILT_IN_ENGINES = {
    "criu": "interceptor.checkpoint.criu:open_criu_engine",
    "http": "interceptor.checkpoint.http:open_http_engine",
    "kubelet": "interceptor.checkpoint.kubelet:open_kubelet_engine",
    "mark": "interceptor.checkpoint.mark:open_mark_engine",
}


def open_engine(context: EngineContext) -> CheckpointEngine:
    """Return the engine that `context.options.engine` names.  Raises ConfigurationError."""
    name = context.options.engine
    if name not in known_engines():
        raise ConfigurationError(f"--checkpoint-engine {name}: known are {', '.join(known_engines())}")
    try:
        opener = EntryPoint(name, _path(name), ENTRY_POINT_GROUP).load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"--checkpoint-engine {name}: it can't be loaded: {error}") from error
    return cast(OpenEngine, opener)(context)


def known_engines() -> list[str]:
    """Return the names that can be opened, in alphabetical order."""
    return sorted({*BUILT_IN_ENGINES, *(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))})


def _path(name: str) -> str:
    registered = {entry.value for entry in entry_points(group=ENTRY_POINT_GROUP, name=name)}
    if len(registered) > 1:
        raise ConfigurationError(f"several packages claim the engine {name}: {', '.join(sorted(registered))}")
    return registered.pop() if registered else BUILT_IN_ENGINES[name]
