"""``spikestore init``: create a store; with ``--shared group``, a store that a group of users shares."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from spikestore.store.cli.console import say


def init(
    store: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder of the store.")],
    shared: Annotated[
        Literal["group"] | None,
        typer.Option("--shared", help="Allow the folder's group to write, regardless of the umask of users."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="NAME", help="Group that shares the store; by default the group of the folder."
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="With --shared: no user outside the group may read the store.")
    ] = False,
) -> None:
    """Create a store in a folder. Without this command, the first build creates it.

    With --shared group, the folders of the store get the setgid bit and group write permission, and the group can read every
    file that is written later. If the store exists already, --shared also changes the permissions of your own files in it.

    Examples
    --------
    spikestore init /shared/features --shared group --group vision
    """
    from spikestore.store.storage import FolderStorage, open_storage
    from spikestore.store.storage.shared_folder import make_shared
    from spikestore.store_schemas.errors import UsageError

    storage = open_storage(store)
    if not isinstance(storage, FolderStorage):
        raise UsageError(
            f"{store} is a bucket and needs no init: set its permissions where the bucket is managed"
        )
    if shared is None:
        if group is not None or private:
            raise UsageError("--group and --private require the option '--shared group'")
        storage.make()
        say(f"{storage.url} is ready as a store")
        return
    left = make_shared(storage, group=group, private=private)
    say(f"{storage.url} is ready as a store that its group shares")
    if left:
        say(
            f"other users must run this command too, because they own {len(left):,} of the files and folders; the first is {left[0]}"
        )
        raise typer.Exit(1)
