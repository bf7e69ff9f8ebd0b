"""Comparison of a cache's rows with frames and labels that are computed from the recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spikestore.pipeline.building.source_look import layout_of_source
from spikestore.pipeline.execution.fragment_task import FragmentJob
from spikestore.pipeline.execution.transformed_rows import transform_rows
from spikestore.pipeline.importing.cache_files import read_sample
from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.recipes.requested_sets import sets_of_recipe
from spikestore.store.build import Build
from spikestore.store.storage import Storage
from spikestore.store_schemas.documents.plan import make_plan
from spikestore.store_schemas.errors import SourceError, UnknownNameError, UsageError
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.wording import plural


def compare_rows(
    root: Path,
    names: Sequence[str],
    rows: Sequence[int],
    classes: Sequence[str],
    recipe: Recipe,
    *,
    origin: Path | None,
    split: str,
    data: str | Path,
    storage: Storage,
) -> None:
    """Compare rows of a cache with the recordings of a recipe.

    Parameters
    ----------
    root, names
        Folder of the cache, and the names of its files in the order of rows.
    rows : sequence of int
        Rows to compare.
    classes : sequence of str
        Class names of the new set.
    recipe, origin
        The recipe, and the path of its file; None if the recipe has no file.
    split : str
        Split of the recordings.
    data : str or Path
        Folder with the recordings.
    storage : Storage
        The store; nothing is written.

    Raises
    ------
    UnknownNameError
        `split` is not a split of the recordings.
    SourceError
        The cache has another number of items than there are recordings; a row differs; or a row or a recording cannot be read.
    UsageError
        `classes` has the class names of the recordings in another order.
    """
    sets = {one.split: one for one in sets_of_recipe(recipe, origin=origin, data=data)}
    if split not in sets:
        raise UnknownNameError(
            f"the recordings in {data} have no split {split!r}: they have {', '.join(sets)}", name=split
        )
    located, transform = sets[split].located, sets[split].transform
    layout = layout_of_source(located, transform)
    with located.open() as reader:
        if len(reader) != len(names):
            raise SourceError(
                f"{root} has {plural(len(names), 'item')}, but {split} in {data} has {plural(len(reader), 'recording')}: fill the cache completely, or pass "
                "the split and the recordings with which it was filled",
                path=str(root),
            )
        _refuse_other_order(classes, reader.classes)
        small = make_plan(
            transform, located.source.key, layout, reader.n_events()[:1], fragment_samples=BLOCK
        )
        job = FragmentJob(Build(storage, small), located, transform)
        for row in rows:
            sample = read_sample(root / names[row], transform)
            columns, skipped, _ = transform_rows(job, reader, range(row, row + 1))
            label = int(columns.label[0])
            as_text = reader.classes[label] if 0 <= label < len(reader.classes) else ""
            same_label = sample.target in (as_text if isinstance(sample.target, str) else label,)
            same = (
                not skipped
                and sample.n_bins == int(columns.n_bins[0])
                and np.array_equal(sample.indices, columns.index)
                and np.array_equal(sample.values, columns.value)
            )
            if same and same_label:
                continue
            what = "another label than" if same else "other frames than"
            raise SourceError(
                f"{root / names[row]} has {what} {reader.name_of(row)}: the cache was filled with another transform, from other recordings, or "
                "in another order of the files; nothing was imported",
                path=str(root / names[row]),
            )


def _refuse_other_order(classes: Sequence[str], recorded: Sequence[str]) -> None:
    """Raise `UsageError` if a name in both lists of classes has different positions in them."""
    for number, name in enumerate(classes):
        if name in recorded and recorded.index(name) != number:
            raise UsageError(
                f"{name!r} would be class {number} of the new set, but in the recordings it is class {recorded.index(name)}: pass the classes "
                f"in this order with classes= (--classes): {','.join(recorded)}"
            )
