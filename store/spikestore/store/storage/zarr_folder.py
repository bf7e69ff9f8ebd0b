"""A read-only folder for Zarr whose methods follow no link out of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import zarr.storage
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype


class LocalStore(zarr.storage.LocalStore):
    """A folder that Zarr reads; the methods of this class call `guard` before they open a file.

    The class has the name of its base class, because the codec pipeline of the package zarrs recognises a folder by this name.
    That pipeline opens the files of chunks without these methods, so `guard` is not called for chunks.

    Parameters
    ----------
    root : Path
        Folder of the Zarr group.
    guard : callable
        Called with each path; raises an error if the path must not be read.
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
        """Return an object's bytes, or only those in `byte_range`; None if the object does not exist."""
        self._guard(self.root / key)
        return await super().get(key, prototype, byte_range)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return what `get` returns, without an event loop. The oldest supported version of Zarr does not call this method."""
        self._guard(self.root / key)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return byte ranges of objects."""
        ranges = list(key_ranges)
        for key, _ in ranges:
            self._guard(self.root / key)
        return await super().get_partial_values(prototype, ranges)
