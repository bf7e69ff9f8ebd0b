"""``spikestore export``: write feature sets into plain files."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, NameArgument, StoreOption, open_store
from spikestore.store.cli.console import print_json, progress, say
from spikestore.store_schemas.wording import plural, size_text


class Form(StrEnum):
    """Forms of exports, for the help."""

    ZARR = "zarr"
    NPZ = "npz"
    HDF5 = "hdf5"
    WEBDATASET = "webdataset"


def export(
    name: NameArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="DIR", help="Folder for the files; a folder that exists already must be empty."
        ),
    ],
    form: Annotated[
        Form,
        typer.Option(
            "--form",
            help="zarr and hdf5: non-zeros as a CSR matrix; npz and webdataset: dense frames of each sample.",
        ),
    ],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write feature sets into plain files, which other programs read without spikestore.

    A README.txt in the folder explains the files, and states licence and citation of the recordings, if these are known.

    Examples
    --------
    spikestore export demo --to demo-npz --form npz --store ./feature_store
    spikestore export demo:train --to demo-h5 --form hdf5
    """
    from spikestore.pipeline.exporting.export import export as export_sets

    sets = open_store(store, must_exist=True).splits(name)
    with progress("samples") as report:
        done = export_sets(sets, to, form.value, progress=report)
    if as_json:
        print_json(
            {
                "folder": str(done.folder),
                "form": done.form,
                "samples": dict(done.samples),
                "bytes": done.nbytes,
            }
        )
        return
    counts = ", ".join(f"{split} {plural(count, 'sample')}" for split, count in done.samples.items())
    say(f"exported {name} to {done.folder} ({counts}; {size_text(done.nbytes)})")
