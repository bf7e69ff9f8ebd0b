"""The source: one split of one dataset, identified by the content of its files and by its reader."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from spikestore.store_schemas.specs.canonical import FORMAT, canonical_json, sha256_hex
from spikestore.store_schemas.specs.folder import FolderContent
from spikestore.store_schemas.specs.model import AsTuple, Count, Name, Sha256, Size, Spec

OnError = Literal["raise", "skip"]


def _relative(name: str) -> str:
    unsafe = any(ord(letter) < 32 or letter == "\\" for letter in name)
    if unsafe or any(part in {"", ".", ".."} for part in name.split("/")):
        raise ValueError(
            f"{name!r} must be a relative path without a leading /, empty parts, . or .., or backslashes"
        )
    return name


def _sorted_once(columns: tuple[str, ...]) -> tuple[str, ...]:
    if list(columns) != sorted(set(columns)):
        raise ValueError("columns must be sorted by name, each listed once")
    return columns


class SourceFile(Spec):
    """One file of a source."""

    name: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_relative)]
    """Path relative to the dataset's folder, with ``/``; never absolute, never with ``..``."""
    size: Count
    """Bytes."""
    sha256: Sha256
    """SHA-256 of the content."""


class Source(Spec):
    """One split of one dataset.

    The location and the times of the files do not matter: a copy elsewhere is the same source.
    """

    reader: Name
    """Name of the reader that returns the files' recordings."""
    reader_version: Size
    """Version of the reader's results."""
    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    """The dataset's name, as in ``tonic.datasets``."""
    split: Name
    """The split's name: train, valid, test."""
    sort: bool = False
    """Sort each recording's events by time first (stable); otherwise unsorted times are an error."""
    on_error: OnError = "raise"
    """A recording that cannot be transformed ends the build ("raise"), or is skipped and listed ("skip")."""
    limit: Size | None = None
    """Read only the first `limit` recordings."""
    files: Annotated[tuple[SourceFile, ...], AsTuple, Field(min_length=1)]
    """The files, sorted by name."""
    columns: Annotated[tuple[Name, ...], AsTuple, AfterValidator(_sorted_once)] = ()
    """Columns that were requested in addition to those that the reader always returns, sorted; documents omit an empty tuple."""
    folder: FolderContent | None = None
    """Labels, columns and decoding of the files, only for the data set ``folder``; documents omit None."""

    @model_validator(mode="after")
    def _files_in_order(self) -> Self:
        names = [file.name for file in self.files]
        if names != sorted(set(names)):
            raise ValueError("files must be sorted by name, without duplicates")
        if self.folder is not None:
            if len(self.folder.labels) != len(self.files):
                raise ValueError(
                    f"folder has {len(self.folder.labels)} labels, there are {len(self.files)} files"
                )
            if tuple(sorted(self.folder.columns)) != self.columns:
                raise ValueError("folder must have the values of all columns, and no others")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_members(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The first sources had neither columns nor folder: without the two members, keys and bytes do not change.
        mapping: dict[str, Any] = handler(self)
        if not self.columns:
            mapping.pop("columns", None)
        if self.folder is None:
            mapping.pop("folder", None)
        return mapping

    def key_document(self) -> dict[str, Any]:
        """Return the document whose hash is the source key."""
        return {"format": FORMAT, **self.to_mapping()}

    @cached_property
    def key(self) -> str:
        """The source key: SHA-256 (hex) of the canonical JSON of `key_document`."""
        return sha256_hex(canonical_json(self.key_document()))
