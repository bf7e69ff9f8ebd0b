"""Options shared by several commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spikestore.store.cli.interrupts import raise_dropped_interrupt

if TYPE_CHECKING:
    from spikestore.store.store import Store

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Folder or URL (file://… or s3://…) of the store. The default is $SPIKESTORE_STORE or, if this variable is not set, the user's data folder.",
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for programs.")]


def names_in_store(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names in a local store that begin with `incomplete`, for completion in a shell.

    For a bucket, the list is empty, because a bucket answers too slowly.
    """
    from spikestore.store.storage import FolderStorage

    # `pull` reads the store of --from.
    store = open_store(context.params.get("source") or context.params.get("store"))
    if not isinstance(store.storage, FolderStorage):
        return []
    return [name for name in store.names() if name.startswith(incomplete)]


NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME[:SPLIT]|KEY",
        help="A name, or the beginning of a key (4 characters or more).",
        autocompletion=names_in_store,
    ),
]

MoveOption = Annotated[
    bool,
    typer.Option(
        "--move",
        help="In the destination store, move the name to the copied sets even if the name refers to other recordings or another transform.",
    ),
]


def open_store(location: str | None, *, must_exist: bool = False) -> Store:
    """Return the store that ``--store`` names.

    Raises
    ------
    UsageError
        `location` is empty or invalid; or `location` is None, and the user has no home folder.
    UnknownNameError
        `must_exist` is true, and the folder does not exist.
    KeyboardInterrupt
        The user pressed Ctrl-C while the command imported packages. An import may drop this exception, so it is raised again.
    """
    raise_dropped_interrupt()
    from spikestore.store.storage import FolderStorage
    from spikestore.store.store import Store, default_location
    from spikestore.store_schemas.errors import UnknownNameError

    store = Store(default_location() if location is None else location)
    if must_exist and isinstance(store.storage, FolderStorage) and not store.storage.root.exists():
        raise UnknownNameError(f"no store at {store.storage.url}: check the path", path=store.storage.url)
    return store
