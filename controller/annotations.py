"""What a workload's annotations ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.durations import parse_duration_s
from controller.errors import RefusedError
from controller.names import ENABLE, LOG_DIRECTORY, PREFIX
from controller.options import arguments_of

# RFC 1123 names, as Kubernetes wants them.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Wanted:
    """`arguments` are for `interceptor run`; `log` is the URL that they name, None for the default."""

    arguments: tuple[str, ...] = ()
    log: str | None = None
    container: str | None = None
    target_port: int | None = None
    image: str | None = None
    log_claim: str | None = None
    log_password_secret: str | None = None
    checkpoint_interval_s: float | None = None
    checkpoint_retention: int | None = None
    native: bool = True

    @property
    def has_shared_log(self) -> bool:
        """Whether every replica finds a log of its own in a database, by its Pod's name."""
        return self.log is not None and self.log.startswith(("postgresql:", "postgres:")) and "$(POD_NAME)" in self.log

    @property
    def log_outlives_pod(self) -> bool:
        """Whether the next Pod opens the same log, which has one writer."""
        return self.log_claim is not None or (self.log is not None and not self.log.startswith(("file:", "memory:")))


def read_wanted(annotations: Mapping[str, str]) -> Wanted | None:
    """Return what is asked for, None where nothing is.  Raises RefusedError (InvalidAnnotation)."""
    enable = annotations.get(ENABLE, "false")
    if enable not in ("true", "false"):
        raise RefusedError("InvalidAnnotation", f'{ENABLE}: {enable!r}: expected "true" or "false"')
    if enable == "false":
        return None
    found: dict[str, object] = {}
    arguments: list[str] = []
    for key in sorted(annotations):
        name = key.removeprefix(PREFIX)
        if key == ENABLE or name == key:
            continue
        text = annotations[key]
        try:
            if name in _OWN:
                field, read = _OWN[name]
                found[field] = read(text)
            else:
                arguments += arguments_of(name, text)
        except ValueError as error:
            raise RefusedError("InvalidAnnotation", f"{key}: {error}. Nothing was changed") from error
    log = annotations.get(f"{PREFIX}log")
    _check_log(log, found)
    return Wanted(arguments=tuple(arguments), log=log.strip() if log else None, **found)  # type: ignore[arg-type]


def _check_log(log: str | None, found: Mapping[str, object]) -> None:
    if log is not None and log.startswith("file:") and not log.startswith(f"file://{LOG_DIRECTORY}/"):
        raise RefusedError("InvalidAnnotation", f"{PREFIX}log: a file log has to be below {LOG_DIRECTORY}")
    if log is not None and re.search("//[^/@]*:[^/@]*@", log):
        raise RefusedError(
            "InvalidAnnotation",
            f"{PREFIX}log: leave the password out, everybody who sees the Pod could read it: put it into a Secret "
            f"under the key `password` and name that in {PREFIX}log-password-secret",
        )
    if "log_claim" in found and log is not None and not log.startswith("file:"):
        raise RefusedError("InvalidAnnotation", f"{PREFIX}log-claim goes with a file log; leave one of the two out")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a Kubernetes object")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) < 65536:
        raise ValueError(f"{text!r}: expected a port number")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= 1000:
        raise ValueError(f"{text!r}: expected a number from 1 to 1000")
    return int(text)


def _image(text: str) -> str:
    if not text or len(text) > 1000 or not re.fullmatch(r"[\w./:@-]+", text):
        raise ValueError(f"{text[:80]!r} is no name of an image")
    return text


def _is_native(text: str) -> bool:
    if text not in ("native", "container"):
        raise ValueError(f"{text[:80]!r}: expected native or container")
    return text == "native"


_OWN = {
    "sidecar": ("native", _is_native),
    "container": ("container", _name),
    "target-port": ("target_port", _port),
    "image": ("image", _image),
    "log-claim": ("log_claim", _name),
    "log-password-secret": ("log_password_secret", _name),
    "checkpoint-interval": ("checkpoint_interval_s", parse_duration_s),
    "checkpoint-retention": ("checkpoint_retention", _count),
}
