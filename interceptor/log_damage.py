"""What to do about a damaged log, said wherever one is met: the error itself tells where the damage is."""

from __future__ import annotations

from interceptor.shown_url import shown_url
from storage_backends.errors import LogDamagedError


def with_remedy(error: Exception, log_url: str) -> str:
    """Return the error's message; of a damaged log with the commands that help."""
    if not isinstance(error, LogDamagedError):
        return str(error)
    shown = shown_url(log_url)
    text = f"{error}. What is wrong altogether: interceptor log verify --log {shown}"
    if shown.lower().startswith("file:"):
        text += f"; what can be kept: interceptor log repair --log {shown} --dry-run"
    return text
