"""``spikestore push``: copy feature sets into another store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from spikestore.store.cli.commands.options import (
    JsonOption,
    MoveOption,
    StoreOption,
    names_in_store,
    open_store,
)
from spikestore.store.cli.console import print_json, progress, say

if TYPE_CHECKING:
    from spikestore.store.sharing.copy_set import Copied
    from spikestore.store_schemas.errors import StoreError

logger = logging.getLogger(__name__)

NamesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME[:SPLIT]|KEY…", help="Names, or beginnings of keys.", autocompletion=names_in_store
    ),
]


def push(
    names: NamesArgument,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The store to copy into.")],
    store: StoreOption = None,
    move: MoveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy feature sets and their names into another store (a folder or a bucket).

    Objects that exist already are not copied again, and an interrupted push resumes. Every object is verified before it is
    stored; a set becomes visible once it is complete.

    Examples
    --------
    spikestore push demo --to s3://team/features --store ./feature_store
    """
    from spikestore.store.sharing.push_pull import refuse_copies
    from spikestore.store.store import Store

    opened, other = open_store(store, must_exist=True), Store(to)
    refuse_copies(opened, other, names, move=move)
    with progress("bytes") as report:
        done, failed = copy_each(names, lambda name: opened.push(name, other, move=move, progress=report))
    report_copied(done, other.storage.url, as_json=as_json, failed=failed)


def copy_each(
    names: Sequence[str], copy: Callable[[str], Mapping[str, Copied]]
) -> tuple[dict[str, Copied], StoreError | None]:
    """Copy the sets of each name. Return the copied sets by label, and an error or None.

    `DamagedError` and `NewerFormatError` do not stop the copies of other names: the first such error is returned, and further ones
    are logged. If several names select a set, the result of its first copy is returned.
    """
    from spikestore.store_schemas.errors import DamagedError, NewerFormatError

    done: dict[str, Copied] = {}
    failed: StoreError | None = None
    for name in names:
        try:
            copied = copy(name)
        except (DamagedError, NewerFormatError) as error:
            if failed is not None:
                logger.warning("%s", error)
            failed = failed or error
        else:
            done |= {label: one for label, one in copied.items() if label not in done}
    return done, failed


def report_copied(
    done: dict[str, Copied], url: str, *, as_json: bool, failed: StoreError | None = None
) -> None:
    """Report the copied sets on stderr, or as JSON on stdout; then raise `failed`, if it is given. If `failed` is given and no set was copied, report nothing."""
    if failed is not None and not done:
        raise failed
    _report(done, url, as_json=as_json)
    if failed is not None:
        raise failed


def _report(done: dict[str, Copied], url: str, *, as_json: bool) -> None:
    if as_json:
        sets = {
            label: {
                **copied.features.address._asdict(),
                "digest": copied.features.digest,
                "bytes": copied.total,
                "bytes_copied": copied.total - copied.present,
            }
            for label, copied in done.items()
        }
        print_json({"store": url, "feature_sets": sets})
        return
    for label, copied in done.items():
        result = f"copied {copied.total - copied.present:,} bytes to" if copied.total else "exists already in"
        say(f"{label}: {result} {url} (digest {copied.features.digest[:12]})")
