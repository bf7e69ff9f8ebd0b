"""Zarr's view of a folder, read-only, that leads nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import zarr.storage
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype


class LocalStore(zarr.storage.LocalStore):
    """A folder for Zarr to read: every file is looked at before it is opened.

    Has the name of its base, by which the codec pipeline of zarrs knows a folder; zarrs opens files by itself.

    Parameters
    ----------
    root : Path
        The Zarr group.
    guard : callable
        Raises where a file may not be read.
    """

    def __init__(self, root: Path, guard: Callable[[Path], None]) -> None:
        super().__init__(root, read_only=True)
        self._guard = guard

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return an object's bytes, or None."""
        self._guard(self.root / key)
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of objects."""
        ranges = list(key_ranges)
        for key, _ in ranges:
            self._guard(self.root / key)
        return await super().get_partial_values(prototype, ranges)
