"""``spikestore init``: make a store before anything is in it, for a group of people."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from spikestore.store.cli.console import say


def init(
    store: Annotated[str, typer.Argument(metavar="FOLDER", help="Where the store shall be.")],
    shared: Annotated[
        Literal["group"] | None,
        typer.Option("--shared", help="Who may write, whatever their umask: the folder's group."),
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="NAME", help="The group; yours by default.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="With --shared: nobody outside the group may read.")
    ] = False,
) -> None:
    """Make a store in a folder; without it the first build does.

    With --shared group its folders get the setgid bit and the right to write for the group, and everything that anybody
    writes into it later is made readable by the group. An existing store is changed, as far as its files are yours.

    Examples
    --------
    spikestore init /shared/features --shared group --group vision
    """
    from spikestore.store.storage import FolderStorage, open_storage
    from spikestore.store.storage.shared_folder import make_shared
    from spikestore.store_schemas.errors import UsageError

    storage = open_storage(store)
    if not isinstance(storage, FolderStorage):
        raise UsageError(f"{store} needs no init: who may do what in a bucket is said at the bucket")
    if shared is None:
        if group is not None or private:
            raise UsageError("--group and --private go with --shared group")
        storage.make()
        say(f"a store is at {storage.url}")
        return
    left = make_shared(storage, group=group, private=private)
    say(f"a store that its group shares is at {storage.url}")
    if left:
        say(f"{len(left)} files or folders belong to others, who must run this too; the first is {left[0]}")
        raise typer.Exit(1)
