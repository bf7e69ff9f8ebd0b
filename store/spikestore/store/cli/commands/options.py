"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spikestore.store.store import Store

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Folder, file://… or s3://… of the store; $SPIKESTORE_STORE, else the user's data folder, by default.",
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for programs.")]

MoveOption = Annotated[
    bool,
    typer.Option(
        "--move",
        help="Move the name even if it stands for other recordings, or another transform, in the store that gets it.",
    ),
]


def open_store(location: str | None, *, must_exist: bool = False) -> Store:
    """Return the store that ``--store`` means.

    Raises
    ------
    UsageError
        The name is empty; or `must_exist`, and there is no such folder: looking into a store that is not there is a
        slip, while filling one makes it.
    """
    from spikestore.store.storage import FolderStorage
    from spikestore.store.store import Store, default_location
    from spikestore.store_schemas.errors import UnknownNameError

    store = Store(default_location() if location is None else location)
    if must_exist and isinstance(store.storage, FolderStorage) and not store.storage.root.exists():
        raise UnknownNameError(f"there is no store at {store.storage.url}", path=store.storage.url)
    return store
