"""Every error that spikestore raises on purpose.

The tree is cut by what a handler would do::

    SpikestoreError
    ├── UsageError                also ValueError    change what was asked for
    │   ├── SpecError                                a recipe or spec is wrong; ``problems`` lists all of it
    │   ├── UnsupportedTransformError                a transform that has no spec
    │   ├── UnknownNameError      also LookupError   no such feature set, ref, split or command
    │   ├── SourceNotFoundError   also FileNotFoundError
    │   └── MissingExtraError     also ImportError   install an extra
    ├── SourceError               also ValueError    mend the raw data
    │   ├── LayoutError                              a file is not what its name says
    │   ├── RecordingError                           one recording is ill-formed
    │   └── SourceChangedError                       a file changed while it was read
    └── StoreError                also OSError       look at the store
        ├── MissingObjectError    also FileNotFoundError
        ├── DamagedError                             stored bytes are not what was committed
        ├── NewerFormatError                         install a newer spikestore
        ├── ConflictError                            two builds of one key differ
        ├── StorageFullError                         make room, run again
        └── ReadOnlyStoreError                       ask for the right to write

``kind`` is stable and machine readable; ``details`` holds the names that the message mentions. Errors survive
pickling, because Dask workers send them home. ``tests/store_schemas/test_errors.py`` pins the tree.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from spikestore.store_schemas.redaction import redacted

__all__ = [
    "ConflictError",
    "DamagedError",
    "LayoutError",
    "MissingExtraError",
    "MissingObjectError",
    "NewerFormatError",
    "Problem",
    "ReadOnlyStoreError",
    "RecordingError",
    "SourceChangedError",
    "SourceError",
    "SourceNotFoundError",
    "SpecError",
    "SpikestoreError",
    "StorageFullError",
    "StoreError",
    "UnknownNameError",
    "UnsupportedTransformError",
    "UsageError",
]


class SpikestoreError(Exception):
    """Base of every error that spikestore raises on purpose.

    Parameters
    ----------
    message : str
        One clear line (lists may follow on lines of their own): what is wrong, where, and what to do.
    **details
        The names that the message mentions, for programs: ``path``, ``recording``, ``field``, ``key`` …
    """

    kind: ClassVar[str] = "error"
    """Stable, machine-readable name of the class of failure."""
    exit_code: ClassVar[int] = 1
    """Exit status of the command line: 1 the work failed, 2 wrong use."""

    def __init__(self, message: str, **details: Any) -> None:
        message = redacted(message)  # what a library below says may quote a URL with a password
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        # KeyError and OSError among the bases would quote or rearrange the message.
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)


def _rebuild(cls: type[SpikestoreError], message: str, details: dict[str, Any]) -> SpikestoreError:
    return cls(message, **details)


class UsageError(SpikestoreError, ValueError):
    """What was asked for makes no sense; nothing was done."""

    kind = "usage"
    exit_code = 2


class Problem(NamedTuple):
    """One thing that is wrong in a document.

    Attributes
    ----------
    path : str
        Where, as in ``transform[0].spatial_factor``.
    message : str
        What was expected, and what was found.
    """

    path: str
    message: str


class SpecError(UsageError):
    """A recipe, spec or stored document does not fit its model.

    ``problems`` lists everything that is wrong, not only the first find.
    """

    kind = "spec"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, in document order."""
        return tuple(Problem(*problem) for problem in self.details.get("problems", ()))


class UnsupportedTransformError(UsageError):
    """A transform that has no spec: random, stateful, or unknown."""

    kind = "unsupported-transform"


class UnknownNameError(UsageError, LookupError):
    """A feature set, ref, split, dataset or command that does not exist."""

    kind = "unknown-name"


class SourceNotFoundError(UsageError, FileNotFoundError):
    """The folder or file with the raw recordings is not there."""

    kind = "source-not-found"


class MissingExtraError(UsageError, ImportError):
    """A part of spikestore is used whose extra is not installed."""

    kind = "missing-extra"


class SourceError(SpikestoreError, ValueError):
    """The raw data can't be used as they are."""

    kind = "source"


class LayoutError(SourceError):
    """A source file is damaged, truncated, or not in the layout that its reader expects."""

    kind = "layout"


class RecordingError(SourceError):
    """One recording is ill-formed: unsorted, outside the sensor, not finite, too long."""

    kind = "recording"


class SourceChangedError(SourceError):
    """A source file changed while it was read."""

    kind = "source-changed"


class StoreError(SpikestoreError, OSError):
    """The store can't do what was asked."""

    kind = "store"


class MissingObjectError(StoreError, FileNotFoundError):
    """An object is not in the store."""

    kind = "missing-object"


class DamagedError(StoreError):
    """Stored bytes are not what was committed; ``details["objects"]`` names them."""

    kind = "damaged"


class NewerFormatError(StoreError):
    """The store was written by a newer format than this version reads."""

    kind = "newer-format"


class ConflictError(StoreError):
    """Two builds of one key differ."""

    kind = "conflict"


class StorageFullError(StoreError):
    """No space is left, or a quota is used up."""

    kind = "storage-full"


class ReadOnlyStoreError(StoreError):
    """The store can't be written to."""

    kind = "read-only"
