"""The lock of a recipe: which feature sets it gave, so that a colleague without the raw data can find them.

It lies beside the recipe (``mine.toml`` → ``mine.lock``) and belongs into version control. A shipped recipe is nobody's to
lock: beside it none is written, unless somebody says where.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from spikestore.pipeline.recipes.shipped import is_shipped
from spikestore.store.machine import expand_home
from spikestore.store.storage.durable_files import replacing
from spikestore.store_schemas.documents.ref import Pin
from spikestore.store_schemas.errors import ConflictError, SpecError, UsageError
from spikestore.store_schemas.specs.canonical import FORMAT, refuse_newer_format
from spikestore.store_schemas.specs.model import Name, Spec

logger = logging.getLogger(__name__)


class RecipeLock(Spec):
    """Keys and digests of everything that a recipe gave."""

    format: Literal[1] = FORMAT
    splits: Annotated[dict[Name, Pin], Field(min_length=1)]
    """Feature set of each split."""

    def to_text(self) -> str:
        """Return JSON that shows changes line by line in version control."""
        return json.dumps(self.to_mapping(), indent=2, sort_keys=True) + "\n"


def lock_path(recipe: Path) -> Path:
    """Return where the lock of a recipe lies."""
    return recipe.with_suffix(".lock")


@dataclass(frozen=True, slots=True)
class LockFile:
    """Where the lock of a recipe is read, and whether it is written there.

    Attributes
    ----------
    path : Path or None
        The file, which need not exist; None if there can be none.
    writable : bool
        Whether a build writes it.
    """

    path: Path | None
    writable: bool

    @classmethod
    def of(cls, recipe: Path | None, chosen: str | Path | None = None) -> LockFile:
        """Return the lock file of a recipe: `chosen`, else beside the recipe; beside a shipped one it is only read.

        Raises
        ------
        UsageError
            `chosen` can't be written: it is a folder, or its folder does not exist.
        """
        if chosen is not None:
            path = expand_home(chosen)
            if path.is_dir() or not path.parent.is_dir():
                what = "is a folder" if path.is_dir() else f"lies in {path.parent}, which is no folder"
                raise UsageError(
                    f"the lock {path} {what}: name a file in a folder that exists", path=str(path)
                )
            return cls(path, True)
        if recipe is None:
            return cls(None, False)
        return cls(lock_path(recipe), not is_shipped(recipe))

    def read(self) -> RecipeLock | None:
        """Read the lock; None if there is none."""
        return read_lock(self.path) if self.path is not None else None

    def refuse_other_digests(self, lock: RecipeLock | None, pins: Mapping[str, Pin]) -> None:
        """Raise `ConflictError` if a set has another digest than the lock pins under the same keys."""
        for split, pin in pins.items():
            old = lock.splits.get(split) if lock is not None else None
            if old is None or (old.transform_key, old.source_key) != (pin.transform_key, pin.source_key):
                continue
            if old.digest != pin.digest:
                raise ConflictError(
                    f"{self.path} pins {split} with digest {old.digest[:12]}, the store has {pin.digest[:12]} under "
                    "the same keys: one of the two is wrong; verify the store, or delete the lock",
                    path=str(self.path),
                )

    def update(self, lock: RecipeLock | None, pins: Mapping[str, Pin]) -> None:
        """Write what a build gave, if that is not what the lock pins already."""
        if not self.writable or self.path is None or (lock is not None and lock.splits == pins):
            return
        for split, old in lock.splits.items() if lock is not None else ():
            if split in pins and pins[split] != old:
                logger.warning(
                    "%s pinned %s with digest %s, this gave %s: other recordings or another transform; the lock is "
                    "rewritten, version control shows the change",
                    self.path,
                    split,
                    old.digest[:12],
                    pins[split].digest[:12],
                )
        try:
            write_lock(self.path, RecipeLock(splits=dict(pins)))
        except OSError as error:
            logger.warning("%s could not be written (%s); nothing else is missing", self.path, error.strerror)
        else:
            logger.info("%s %s", "wrote" if lock is None else "brought up to date", self.path)


def read_lock(path: Path) -> RecipeLock | None:
    """Read a lock; None if there is none.

    Raises
    ------
    SpecError
        The file is not a lock.
    """
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(
            f"{path} is no lock of a recipe: delete it, the next build writes it anew ({error})"
        ) from None
    if isinstance(mapping, dict):
        refuse_newer_format(mapping, path=str(path))
    return RecipeLock.from_mapping(mapping, origin=str(path))


def write_lock(path: Path, lock: RecipeLock) -> None:
    """Write a lock, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(lock.to_text(), encoding="utf-8")
