"""What can go wrong with checkpoints.  None of it stops the application or the proxy."""

from __future__ import annotations

from interceptor.errors import ConfigurationError, InterceptorError


class EngineUnusableError(ConfigurationError):
    """The engine can't work here: something is missing, too old, or not allowed.  The message says what helps."""


class CheckpointError(InterceptorError):
    """No checkpoint was taken; the application goes on and nothing was trimmed."""


class ArtefactDamagedError(InterceptorError):
    """What a checkpoint has stored is missing, or not what was stored."""


class RestoreRefusedError(InterceptorError):
    """A checkpoint was not restored, and the target is as empty as before: the one before it may be tried."""


class RestoreFailedError(InterceptorError):
    """A restore ended half-way: what this incarnation holds now is unknown, only a new one may get anything."""


class NoSuchCheckpointError(InterceptorError):
    """The catalogue holds no checkpoint of this id."""


class ImageError(InterceptorError):
    """No image was built of a checkpoint."""
