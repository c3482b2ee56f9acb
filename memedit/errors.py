"""Everything memedit raises on purpose.

The tree::

    MemeditError
    ├── InvalidInputError          what was given cannot be used (also a ValueError)
    │   ├── UnknownNameError       no part of that name is registered
    │   ├── SettingsError          a setting is missing, unknown or out of range
    │   └── DatasetError           a record of a data file cannot be read
    ├── AccessError                no key, or none that opens this door
    ├── NotFoundError              no such edit, version or namespace
    ├── ConflictError              the edit is no longer in the state the call needs
    ├── MemoryFailure              the edit memory cannot answer (disk, database, lock)
    │   └── EncoderMismatchError   the memory was written with another encoder
    ├── DivergedError              an edit's optimisation got worse; nothing was changed
    ├── MissingResourceError       a model, data file or optional package is not there
    └── UpstreamError              the served model's endpoint failed
        ├── UpstreamUnreachable    no connection
        └── UpstreamTimeout        connected, but no answer in time

Every message names what was got, what was expected and what to do next.  ``code`` is stable and
machine-readable; ``status`` is the HTTP status that servers answer with.
"""

from __future__ import annotations

from typing import ClassVar


class MemeditError(Exception):
    """Base of all errors that memedit raises on purpose."""

    code: ClassVar[str] = "memedit_error"
    status: ClassVar[int] = 500


class InvalidInputError(MemeditError, ValueError):
    """What was given cannot be used; nothing was changed."""

    code = "invalid_input"
    status = 400


class UnknownNameError(InvalidInputError):
    """No part of that name is registered."""

    code = "unknown_name"


class SettingsError(InvalidInputError):
    """A setting is missing, unknown or out of range."""

    code = "invalid_settings"


class DatasetError(InvalidInputError):
    """A data file, or a record in it, cannot be read as the format it is said to have."""

    code = "invalid_dataset"


class AccessError(MemeditError):
    """No key was sent, or none that opens this door."""

    code = "unauthorized"
    status = 401


class NotFoundError(MemeditError, LookupError):
    """No such edit, version or namespace."""

    code = "not_found"
    status = 404


class ConflictError(MemeditError):
    """The edit is no longer in the state that the call needs."""

    code = "conflict"
    status = 409


class MemoryFailure(MemeditError):
    """The edit memory cannot answer (disk, database or lock)."""

    code = "memory_unavailable"
    status = 503


class EncoderMismatchError(MemoryFailure):
    """The memory's vectors were written by another encoder than the one in use."""

    code = "encoder_mismatch"


class DivergedError(MemeditError):
    """An edit's optimisation got worse instead of better; there is no delta, nothing changed."""

    code = "diverged"


class MissingResourceError(MemeditError):
    """A model, data file or optional package is not there."""

    code = "missing_resource"


class UpstreamError(MemeditError):
    """The served model's endpoint failed."""

    code = "upstream_error"
    status = 502


class UpstreamUnreachable(UpstreamError):
    """No connection to the upstream could be made."""

    code = "upstream_unreachable"
    status = 502


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer in time."""

    code = "upstream_timeout"
    status = 504


__all__ = [
    "AccessError",
    "ConflictError",
    "DatasetError",
    "DivergedError",
    "EncoderMismatchError",
    "InvalidInputError",
    "MemeditError",
    "MemoryFailure",
    "MissingResourceError",
    "NotFoundError",
    "SettingsError",
    "UnknownNameError",
    "UpstreamError",
    "UpstreamTimeout",
    "UpstreamUnreachable",
]
