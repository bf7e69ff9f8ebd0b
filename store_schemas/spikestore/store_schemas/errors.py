"""Every error that spikestore raises on purpose.

Classes are grouped by what a handler does about them::

    SpikestoreError
    ├── UsageError                also ValueError    change the request
    │   ├── SpecError                                a recipe or spec is wrong; ``problems`` lists every fault
    │   ├── UnsupportedTransformError                a transform that has no spec
    │   ├── UnknownNameError      also LookupError   no such feature set, name, split, data set, …
    │   ├── SourceNotFoundError   also FileNotFoundError
    │   └── MissingExtraError     also ImportError   install an extra
    ├── SourceError               also ValueError    fix the raw data
    │   ├── LayoutError                              a file does not have the layout that its reader expects
    │   ├── RecordingError                           one recording is invalid
    │   └── SourceChangedError                       a file changed after it was hashed
    └── StoreError                also OSError       check the store
        ├── MissingObjectError    also FileNotFoundError
        ├── DamagedError                             stored bytes differ from the committed bytes
        ├── NewerFormatError                         install a newer spikestore
        ├── ConflictError                            two builds of a feature set, or two partitions with the same name, differ
        ├── StorageFullError                         free some space and rerun
        └── ReadOnlyStoreError                       get write permission

``kind`` is stable and machine-readable; ``details`` holds the names that the message mentions. Errors can be
pickled, because Dask workers return them. ``tests/store_schemas/test_errors.py`` checks the tree.
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
        One line: what is wrong, where, and what to do. Lists follow on further lines.
    **details
        The names in the message, for programs: ``path``, ``recording``, ``field``, ``key`` …
    """

    kind: ClassVar[str] = "error"
    """Stable, machine-readable name of the class of failure."""
    exit_code: ClassVar[int] = 1
    """Exit status of the command line: 1 if the work failed, 2 if the request was wrong."""

    def __init__(self, message: str, **details: Any) -> None:
        message = redacted(message)  # a library's message may quote a URL with a password
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        # The base classes LookupError and OSError would quote or rearrange the message.
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)


def _rebuild(cls: type[SpikestoreError], message: str, details: dict[str, Any]) -> SpikestoreError:
    return cls(message, **details)


class UsageError(SpikestoreError, ValueError):
    """The request is invalid and must be changed."""

    kind = "usage"
    exit_code = 2


class Problem(NamedTuple):
    """One fault in a document.

    Attributes
    ----------
    path : str
        Path of the field, such as ``transform[0].spatial_factor``.
    message : str
        The expected and the actual value.
    """

    path: str
    message: str


class SpecError(UsageError):
    """A recipe, its lock file or a spec does not fit its model. For a document in a store, `DamagedError` is raised instead.

    ``problems`` lists every fault of the fields, not only the first.
    """

    kind = "spec"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems; none if the error concerns no fields, for example because a file is not TOML."""
        return tuple(Problem(*problem) for problem in self.details.get("problems", ()))


class UnsupportedTransformError(UsageError):
    """A transform that has no spec: random, stateful, or unknown."""

    kind = "unsupported-transform"


class UnknownNameError(UsageError, LookupError):
    """Something that the user names does not exist: for example a feature set, name, split, partition or data set."""

    kind = "unknown-name"


class SourceNotFoundError(UsageError, FileNotFoundError):
    """The folder or file with the raw recordings does not exist."""

    kind = "source-not-found"


class MissingExtraError(UsageError, ImportError):
    """An optional package that the call needs is not installed; the message names the extra."""

    kind = "missing-extra"


class SourceError(SpikestoreError, ValueError):
    """The raw data cannot be used as they are."""

    kind = "source"


class LayoutError(SourceError):
    """A source file is damaged or truncated, or does not have the layout that its reader expects."""

    kind = "layout"


class RecordingError(SourceError):
    """One recording is invalid: for example, it is too long, or its events are unsorted, outside the sensor or not finite."""

    kind = "recording"


class SourceChangedError(SourceError):
    """A source file or item changed after it was hashed, or while it was read."""

    kind = "source-changed"


class StoreError(SpikestoreError, OSError):
    """An operation on the store failed."""

    kind = "store"


class MissingObjectError(StoreError, FileNotFoundError):
    """An object is not in the store."""

    kind = "missing-object"


class DamagedError(StoreError):
    """Stored bytes differ from the committed bytes; ``details["objects"]``, if present, lists the objects."""

    kind = "damaged"


class NewerFormatError(StoreError):
    """A document has a newer format than this version reads, or an operation that this version does not know."""

    kind = "newer-format"


class ConflictError(StoreError):
    """Two builds of the same feature set differ, or a partition has the name of another partition of the same source."""

    kind = "conflict"


class StorageFullError(StoreError):
    """No space is left, or a quota is exhausted."""

    kind = "storage-full"


class ReadOnlyStoreError(StoreError):
    """The store is not writable."""

    kind = "read-only"
