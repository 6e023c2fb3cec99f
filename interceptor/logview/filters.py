"""Which events are wanted: by version, method, path and status."""

from __future__ import annotations

import re
from dataclasses import dataclass

from interceptor.logview.errors import LogViewError

_STATUS = re.compile(r"[1-5](?:xx|\d\d)|none")


@dataclass(frozen=True)
class Filters:
    """All must match; an empty one matches everything.  `statuses` hold `404`, `4xx` or `none` (no answer recorded).

    Raises LogViewError for a status of another shape.
    """

    from_version: int | None = None
    to_version: int | None = None
    methods: tuple[str, ...] = ()
    path: str | None = None
    statuses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for status in self.statuses:
            if not _STATUS.fullmatch(status.lower()):
                raise LogViewError(f"--status {status}: write a status such as 404, a class such as 4xx, or none")
        if self.to_version is not None and self.from_version is not None and self.to_version < self.from_version:
            raise LogViewError(f"--to {self.to_version} is below --from {self.from_version}")

    @property
    def looks_at_content(self) -> bool:
        """Whether more than the versions is filtered."""
        return bool(self.methods or self.path or self.statuses)

    def head_pattern(self) -> re.Pattern[bytes] | None:
        """Return what a wanted event's head begins with; None if all are wanted."""
        if not self.methods and self.path is None:
            return None
        methods = "|".join(re.escape(method.upper()) for method in self.methods) or r"[^ ]++"
        path = _path_expression(self.path if self.path is not None else "*")
        text = rf"(?:{methods}) (?:[a-zA-Z][a-zA-Z0-9+.\-]*://[^/ ?]*)?(?:{path})(?:\?[^ ]*)? HTTP/"
        return re.compile(text.encode("utf-8", "surrogateescape"))

    def wants_status(self, code: int | None) -> bool:
        """Tell whether an event that was answered with this status (None: not at all) is wanted."""
        if not self.statuses:
            return True
        status = "none" if code is None else str(code)
        return any(wanted.lower() in (status, f"{status[0]}xx") for wanted in self.statuses)


def _path_expression(glob: str) -> str:
    """Return a regular expression for a glob over a path, which ends at the query."""
    parts: list[str] = []
    at = 0
    while at < len(glob):
        character = glob[at]
        end = glob.find("]", at + 2) if character == "[" else -1
        if end > 0:
            chosen = glob[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[^{chosen[1:]}]" if chosen.startswith("!") else f"[{chosen}]")
            at = end
        else:
            parts.append({"*": "[^ ?]*", "?": "[^ ?]"}.get(character) or re.escape(character))
        at += 1
    return "".join(parts)
