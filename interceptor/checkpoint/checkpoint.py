"""One checkpoint, as the catalogue keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from storage_backends.backend import Fact


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The target's state at exactly `version` (design rule 4).

    `artefact` is the name of the file or directory in the checkpoint directory, None where nothing is stored there;
    `digest` and `size_bytes` are of what is stored.  `detail` is the engine's own.  `time_s` is Unix time.
    """

    id: str
    version: int
    engine: str
    time_s: float
    size_bytes: int = 0
    digest: str | None = None
    artefact: str | None = None
    incarnation: str | None = None
    image: str | None = None
    app_version: str | None = None
    pinned: bool = False
    verified: bool = False
    holds_state: bool = False
    blackout_s: float = 0.0
    phases_s: Mapping[str, float] = field(default_factory=dict)
    detail: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The number in its id."""
        return int(self.id.rpartition("-")[2])

    @property
    def state_bytes(self) -> int:
        """What a restore has to move: more than what is stored, where that is compressed."""
        found = self.detail.get("uncompressed_bytes")
        return found if isinstance(found, int) and found > self.size_bytes else self.size_bytes

    def as_fact(self) -> dict[str, Fact]:
        """Return it as it is stored and as `GET /checkpoint` shows it."""
        return {
            "id": self.id,
            "version": self.version,
            "engine": self.engine,
            "time": round(self.time_s, 3),
            "size_bytes": self.size_bytes,
            "digest": self.digest,
            "artefact": self.artefact,
            "incarnation": self.incarnation,
            "image": self.image,
            "app_version": self.app_version,
            "pinned": self.pinned,
            "verified": self.verified,
            "holds_state": self.holds_state,
            "blackout_s": round(self.blackout_s, 6),
            "phases_s": {name: round(seconds, 6) for name, seconds in self.phases_s.items()},
            "detail": dict(self.detail),
        }

    @classmethod
    def from_fact(cls, fact: Fact) -> Checkpoint | None:
        """Return what was stored, None for what can't be read: that must neither be restored nor allow trimming."""
        if not isinstance(fact, dict):
            return None
        fact = dict(fact)
        fact["time_s"] = fact.pop("time", None)
        if not isinstance(fact.get("id"), str) or not str(fact["id"]).rpartition("-")[2].isdecimal():
            return None
        if any(not _is_a(fact.get(name), kinds) for name, kinds in _KINDS.items() if fact.get(name) is not None):
            return None
        if any(fact.get(name) is None for name in ("version", "engine", "time_s")):
            return None
        known = {name: fact[name] for name in (*_KINDS, "id") if fact.get(name) is not None}
        return cls(**known)  # type: ignore[arg-type]


def _is_a(value: Fact, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "version": int,
    "engine": str,
    "time_s": (int, float),
    "size_bytes": int,
    "digest": str,
    "artefact": str,
    "incarnation": str,
    "image": str,
    "app_version": str,
    "pinned": bool,
    "verified": bool,
    "holds_state": bool,
    "blackout_s": (int, float),
    "phases_s": dict,
    "detail": dict,
}
