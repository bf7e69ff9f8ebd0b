"""``spikestore report``: one HTML page about the sets of a name."""

from __future__ import annotations

from typing import Annotated

import typer

from spikestore.store.cli.commands.options import NameArgument, StoreOption, open_store
from spikestore.store.cli.console import print_json, progress, say
from spikestore.store_schemas.wording import size_text


def report(
    name: NameArgument,
    store: StoreOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE", help="Page to write; by default NAME-report.html in the current folder."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder with the recordings. With this folder, the page also shows the events beside the frames, the time step of the recordings, and results for bins that are finer than those of the set.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Write the facts of the page as JSON to stdout. With this option, a page is written only if --out is given too.",
        ),
    ] = False,
) -> None:
    """Write an HTML page about feature sets: samples, lost events, bin widths, distributions, equal samples, bytes, a linear baseline.

    The page is one file, contains everything that it shows, and needs no internet connection. Writing the page needs the extra 'report'; --json does not.

    Examples
    --------
    spikestore report demo --store ./feature_store
    spikestore report demo --data data/demo --out demo.html
    spikestore report demo:train --json
    """
    from spikestore.pipeline.reporting.report import make_report
    from spikestore.pipeline.reporting.write_page import page_file, write_page

    path = (
        None
        if as_json and out is None
        else page_file(out or f"{name.replace(':', '-').replace('/', '-')}-report.html")
    )
    sets = open_store(store, must_exist=True).splits(name)
    with progress("samples") as shown:
        made = make_report(name, sets, data=data, progress=shown)
    if path is not None:
        size = write_page(made, next(iter(sets.values())).layout, path)
        say(f"wrote {path} ({size_text(size)})")
    if as_json:
        print_json(made.document)
