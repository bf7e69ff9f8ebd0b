"""The source: one split of one dataset, identified by the content of its files and by its reader."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from spikestore.store_schemas.specs.canonical import FORMAT, canonical_json, sha256_hex
from spikestore.store_schemas.specs.files import SourceFile
from spikestore.store_schemas.specs.folder import FolderContent
from spikestore.store_schemas.specs.items import ItemContent
from spikestore.store_schemas.specs.model import AsTuple, Name, Size, Spec
from spikestore.store_schemas.wording import plural

OnError = Literal["raise", "skip"]


def _sorted_once(columns: tuple[str, ...]) -> tuple[str, ...]:
    if list(columns) != sorted(set(columns)):
        raise ValueError("columns must be sorted by name, without duplicates")
    return columns


class CacheContent(Spec):
    """Class names of a source whose files are a cache of frames; the targets in the cache are class numbers, or class names."""

    classes: Annotated[tuple[str, ...], AsTuple, Field(min_length=1)]
    """Class names; label i means ``classes[i]``."""

    @field_validator("classes")
    @classmethod
    def _once_each(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes) or not all(classes):
            raise ValueError("classes must not list a class twice, and no class name may be empty")
        return classes


class Source(Spec):
    """One split of one dataset.

    Modification times and the location of the dataset's folder do not matter: a copy in another place is the same source.
    """

    reader: Name
    """Name of the reader that returns the files' recordings."""
    reader_version: Size
    """Version of the reader's results."""
    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    """The dataset's name; for a dataset of Tonic, the name in ``tonic.datasets``."""
    split: Name
    """The split's name, such as ``train``, ``valid`` or ``test``."""
    sort: bool = False
    """First sort each recording's events by time (stable sort). If false, unsorted times are an error."""
    on_error: OnError = "raise"
    """A recording that cannot be transformed ends the build ("raise"), or is skipped and listed ("skip")."""
    limit: Size | None = None
    """Read only the first `limit` recordings."""
    items: ItemContent | None = None
    """Recordings of the data set ``items``; documents omit None."""
    files: Annotated[tuple[SourceFile, ...], AsTuple]
    """The files, sorted by name; none if the source has `items`."""
    columns: Annotated[tuple[Name, ...], AsTuple, AfterValidator(_sorted_once)] = ()
    """Columns that were requested in addition to those that the reader always returns, sorted; documents omit an empty tuple."""
    folder: FolderContent | None = None
    """Labels, columns and decoding of the files, only for the data set ``folder``; documents omit None."""

    cache: CacheContent | None = None
    """Classes of the samples, only if the files are a cache of frames; documents omit None."""

    @field_validator("files")
    @classmethod
    def _some_files(cls, files: tuple[SourceFile, ...], info: ValidationInfo) -> tuple[SourceFile, ...]:
        if "items" in info.data and (info.data["items"] is None) == (not files):
            raise ValueError("a source must have either files or items, and not both")
        return files

    @model_validator(mode="after")
    def _files_in_order(self) -> Self:
        names = [file.name for file in self.files]
        if names != sorted(set(names)):
            raise ValueError("files must be sorted by name, without duplicates")
        if self.folder is not None:
            if len(self.folder.labels) != len(self.files):
                raise ValueError(
                    f"folder has {plural(len(self.folder.labels), 'label')}, but there are {plural(len(self.files), 'file')}"
                )
            if unequal := set(self.folder.columns) ^ set(self.columns):
                raise ValueError(
                    f"the column {min(unequal)!r} must be in columns and in folder.columns, or in neither"
                )
        return self

    @model_serializer(mode="wrap")
    def _without_absent_members(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Sources of the first version had no columns, folder, items and cache: unset members are omitted, so old keys stay valid.
        mapping: dict[str, Any] = handler(self)
        if not self.columns:
            mapping.pop("columns", None)
        if self.folder is None:
            mapping.pop("folder", None)
        if self.items is None:
            mapping.pop("items", None)
        if self.cache is None:
            mapping.pop("cache", None)
        return mapping

    def key_document(self) -> dict[str, Any]:
        """Return the document whose hash is the source key."""
        return {"format": FORMAT, **self.to_mapping()}

    @cached_property
    def key(self) -> str:
        """The source key: SHA-256 (hex) of the canonical JSON of `key_document`."""
        return sha256_hex(canonical_json(self.key_document()))
