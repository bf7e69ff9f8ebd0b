"""The lock of a recipe: a file that lists the keys and digests of its feature sets, so that the sets are found without the recordings.

The lock is a file next to the recipe (``mine.toml`` → ``mine.lock``) and belongs in version control. A shipped recipe gets no
lock unless the caller passes a path.
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
    """Keys and digests of the feature sets of a recipe."""

    format: Literal[1] = FORMAT
    splits: Annotated[dict[Name, Pin], Field(min_length=1)]
    """Feature set of each split."""

    def to_text(self) -> str:
        """Return indented JSON, so that version control shows changes line by line."""
        return json.dumps(self.to_mapping(), indent=2, sort_keys=True) + "\n"


def lock_path(recipe: Path) -> Path:
    """Return the default path of the lock of a recipe: ``mine.lock`` for ``mine.toml``.

    If the name of the recipe does not end with ``.toml``, ``.lock`` is appended to it. So ``mine.v1`` and ``mine.v2`` have
    different locks, and the lock of a recipe ``mine.lock`` is ``mine.lock.lock``.
    """
    if recipe.suffix == ".toml":
        return recipe.with_suffix(".lock")
    return recipe.with_name(f"{recipe.name}.lock")


@dataclass(frozen=True, slots=True)
class LockFile:
    """Path of the lock of a recipe, and whether a build writes the lock.

    Attributes
    ----------
    path : Path or None
        The file, which need not exist; None for a recipe without a file.
    writable : bool
        Whether a build writes the lock.
    """

    path: Path | None
    writable: bool

    @classmethod
    def of(cls, recipe: Path | None, chosen: str | Path | None = None) -> LockFile:
        """Return the lock file of a recipe: `chosen`, or else the file next to the recipe.

        A build never writes the file next to a shipped recipe.

        Raises
        ------
        UsageError
            `chosen` is a folder, or its parent folder does not exist.
        """
        if chosen is not None:
            path = expand_home(chosen)
            if path.is_dir():
                raise UsageError(f"the lock {path} is a folder: pass a file", path=str(path))
            if not path.parent.is_dir():
                raise UsageError(
                    f"no folder at {path.parent} for the lock {path}: pass a file in an existing folder",
                    path=str(path),
                )
            return cls(path, True)
        if recipe is None:
            return cls(None, False)
        return cls(lock_path(recipe), not is_shipped(recipe))

    def of_variant(self, suffix: str) -> LockFile:
        """Return the lock file of a variant of the recipe: this file, with the suffix in its name."""
        if self.path is None:
            return self
        return LockFile(self.path.with_stem(f"{self.path.stem}-{suffix}"), self.writable)

    def read(self) -> RecipeLock | None:
        """Return the lock, or None if there is no file. Errors are those of `read_lock`."""
        return read_lock(self.path) if self.path is not None else None

    def refuse_other_digests(self, lock: RecipeLock | None, pins: Mapping[str, Pin]) -> None:
        """Raise `ConflictError` if the lock and the sets in the store have the same keys, but different digests.

        `pins` are keys and digests of the sets in the store, by split.
        """
        for split, pin in pins.items():
            old = lock.splits.get(split) if lock is not None else None
            if old is None or (old.transform_key, old.source_key) != (pin.transform_key, pin.source_key):
                continue
            if old.digest != pin.digest:
                raise ConflictError(
                    f"{self.path} has {split} with digest {old.digest[:12]}, but the store has {pin.digest[:12]} for "
                    "the same transform and recordings, so the lock or the set in the store is wrong: verify the store, or delete the lock",
                    path=str(self.path),
                )

    def update(self, lock: RecipeLock | None, pins: Mapping[str, Pin], *, keep_others: bool = False) -> None:
        """Write `pins` to the lock if the pins changed and `writable` is true; log a warning for each pin that is replaced.

        If writing fails, a warning is logged.

        If `keep_others` is true, the pins of other splits with the same transform stay in the lock.
        """
        former = {} if lock is None else lock.splits
        transforms = {pin.transform_key for pin in pins.values()}
        kept = {
            split: pin for split, pin in former.items() if keep_others and pin.transform_key in transforms
        }
        splits = {**kept, **pins}
        if not self.writable or self.path is None or former == splits:
            return
        for split, old in former.items():
            if split in pins and pins[split] != old:
                same = pins[split].digest == old.digest
                logger.warning(
                    "%s has %s with digest %s, but this build has %s: the recordings or the transform changed. The lock "
                    "is rewritten; version control shows the change",
                    self.path,
                    split,
                    old.digest[:12],
                    "the same digest under other keys" if same else pins[split].digest[:12],
                )
        try:
            write_lock(self.path, RecipeLock(splits=splits))
        except OSError as error:
            logger.warning(
                "cannot write the lock %s: %s. The feature sets themselves are complete",
                self.path,
                error.strerror,
            )
        else:
            logger.info("%s %s", "wrote" if lock is None else "updated", self.path)


def read_lock(path: Path) -> RecipeLock | None:
    """Return the lock at `path`, or None if the file does not exist.

    Raises
    ------
    SpecError
        The file is not a lock, or cannot be read.
    NewerFormatError
        A newer version of spikestore wrote the lock.
    """
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpecError(
            f"cannot read the lock {path}: {error.strerror}. Make it a file that can be read, or move it away",
        ) from error
    except (ValueError, RecursionError) as error:
        raise SpecError(
            f"{path} is not a lock of a recipe ({error}): delete it; the next build writes a new lock"
        ) from None
    if isinstance(mapping, dict):
        refuse_newer_format(mapping, path=str(path))
    return RecipeLock.from_mapping(mapping, origin=str(path))


def write_lock(path: Path, lock: RecipeLock) -> None:
    """Write a lock atomically."""
    with replacing(path) as temporary:
        temporary.write_text(lock.to_text(), encoding="utf-8")
