"""The lock of a recipe: which feature sets it gave, so that a colleague without the raw data can find them.

It lies beside the recipe (``ssc.toml`` → ``ssc.lock``) and belongs into version control.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from spikestore.store_schemas.documents.ref import Pin
from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.specs.canonical import FORMAT, refuse_newer_format
from spikestore.store_schemas.specs.model import Name, Spec


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
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(lock.to_text(), encoding="utf-8")
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
