"""`import_cache`: store the frames in a cache of Tonic's ``DiskCachedDataset`` as a feature set.

The source of the set is the cache itself, and never the recordings: see docs/decisions/0066-a-cache-is-its-own-source.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.building.provenance import provenance
from spikestore.pipeline.importing.cache_files import CachedSample, list_cache, read_sample
from spikestore.pipeline.importing.compared_rows import compare_rows
from spikestore.pipeline.readers.registry import dataset_named
from spikestore.pipeline.recipes.recipe import Recipe, load_recipe
from spikestore.pipeline.sources.source_files import check_unchanged, identify_files
from spikestore.store.build import Build
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.feature_set import FeatureSet
from spikestore.store.machine import free_memory_bytes
from spikestore.store.names import NamedSet
from spikestore.store.progress import Progress
from spikestore.store.refs import refuse_wrong_names
from spikestore.store.store import Store, default_location
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan, make_plan
from spikestore.store_schemas.errors import LayoutError, SourceError, UnknownNameError, UsageError
from spikestore.store_schemas.layout import layout_of
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform

logger = logging.getLogger(__name__)

READER = "tonic-disk-cache"
"""Name of the reader in the source of an imported cache."""
_VERSION = 1

COMPARED = 64
"""Rows that are compared with the recordings, unless all are."""

MOST_KEPT_BYTES = 2**30
"""Bytes of non-zeros that are kept between the check and the storing, and at most a quarter of the free memory: reading a file again takes longer."""


def import_cache(
    cache: str | Path,
    recipe: str | Path | Recipe,
    *,
    split: str,
    store: Store | str | Path | None = None,
    name: str | None = None,
    move: bool = False,
    classes: Sequence[str] | int | None = None,
    data: str | Path | None = None,
    compare_all: bool = False,
    progress: Progress | None = None,
) -> FeatureSet:
    """Store the frames of a cache of Tonic's ``DiskCachedDataset`` as a feature set, and return it.

    Row i is item i of the cache. The key of the set contains the hashes of the cache's files and the transform of the recipe. It is not the key that
    `preprocess` gives a set of the recordings.

    Parameters
    ----------
    cache : str or Path
        Folder with the files ``0_0.hdf5``, ``1_0.hdf5`` and so on.
    recipe : str, Path or Recipe
        Recipe that states the transform with which the cache was filled, and the data set.
    split : str
        Split of the data set that was cached.
    store, name, move
        As `spikestore.pipeline.preprocess`.
    classes : sequence of str or int, optional
        Names of the classes in the order of their numbers, or their number. By default ``0`` to the largest target, or all targets that are
        text, sorted. They are part of the key.
    data : str or Path, optional
        Folder with the recordings. Then some rows are compared with frames and labels that are computed from the recordings.
    compare_all : bool
        Compare all rows.
    progress : callable, optional
        Called as ``progress(items_done, items_total, label)``, first for the check, then while samples are stored.

    Raises
    ------
    LayoutError
        A file is missing, damaged or no cache of frames, or its shape or counts do not fit the transform.
    SourceError
        A row differs from the recordings, a file changed during the import, or no frame has a count.
    UsageError
        The recipe or a parameter is wrong, or the name stands for another set.
    StoreError
        The store cannot be written to.
    """
    root = Path(cache)
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if loaded.sweep:
        raise UsageError(
            "a cache has the frames of one transform, but the recipe has [[sweep]]: remove it", field="sweep"
        )
    refuse_wrong_names(split, *(() if name is None else (name,)))
    _refuse_unknown_split(loaded, split)
    if compare_all and data is None:
        raise UsageError("comparing all rows needs the recordings: pass data=, or --data FOLDER")
    opened = store if isinstance(store, Store) else Store(default_location() if store is None else store)
    began = time.perf_counter()
    names, transform = list_cache(root), loaded.transform_spec()
    files, stamps = identify_files(root, sorted(names), f"cache/{split}")
    contents = _look_into(root, names, transform, progress)
    class_names = _classes(contents, classes, root)
    source = Source.from_mapping(
        {
            "reader": READER,
            "reader_version": _VERSION,
            "dataset": loaded.source.dataset,
            "split": split,
            "files": files,
            "cache": {"classes": class_names},
        },
        origin=f"source of {root}",
    )
    address = Address(transform.key, source.key)
    if name is not None and not move:
        opened.refuse_move(name, {split: NamedSet(address, source)})
    compared = 0
    if data is not None:
        compared = len(names) if compare_all else min(COMPARED, len(names))
        origin = None if isinstance(recipe, Recipe) else Path(recipe)
        rows = np.unique(np.linspace(0, len(names) - 1, compared).astype(np.int64)).tolist()
        compare_rows(root, names, rows, loaded, origin=origin, split=split, data=data, storage=opened.storage)
        compared = len(rows)
        logger.info(
            "%s: %s of %s rows equal the recordings in %s", root, f"{compared:,}", f"{len(names):,}", data
        )
    features = opened.find(address)
    if features is None:
        layout = layout_of(transform, has_y=contents.has_y, classes=class_names, extras=())

        def plan() -> Plan:
            return make_plan(transform, source.key, layout, np.array(contents.nnz, np.int64))

        build = Build.join_or_start(opened.storage, address, plan)
        build.refuse_other_shape(layout, len(names))
        unfinished = build.unfinished()
        check_unchanged(stamps)
        for fragment in unfinished:
            rows_of_fragment = build.plan.rows(fragment)
            if contents.samples is not None:
                samples = contents.samples[rows_of_fragment.start : rows_of_fragment.stop]
            else:
                samples = [read_sample(root / names[row], transform) for row in rows_of_fragment]
                check_unchanged(stamps)
            build.put_fragment(fragment, _columns(samples, class_names))
            if progress is not None:
                progress(rows_of_fragment.stop, len(names), f"storing {split}")
        how = provenance(
            executor=READER,
            workers=0,
            seconds=time.perf_counter() - began,
            reused_fragments=build.plan.fragments - len(unfinished),
        )
        check_unchanged(stamps)
        features = build.commit(
            transform,
            source,
            {**how, "compared_rows": compared, **loaded.notes},
            review=lambda manifest: _refuse_empty(manifest, root),
        )
    if name is not None:
        opened.point(name, {split: features}, move=move)
    return features


@dataclass(slots=True)
class _Contents:
    """Properties of all items of a cache, and the items themselves in small dtypes; None if these are too large."""

    has_y: bool
    nnz: list[int]
    targets: list[int | str]
    samples: list[CachedSample] | None


def _look_into(root: Path, names: list[str], transform: Transform, progress: Progress | None) -> _Contents:
    """Read all files once, so that every fault is reported before the store is changed."""
    free = free_memory_bytes()
    left = MOST_KEPT_BYTES if free is None else min(MOST_KEPT_BYTES, free // 4)
    contents = _Contents(False, [], [], [])
    for done, file in enumerate(names, 1):
        sample = read_sample(root / file, transform)
        if done == 1:
            contents.has_y = sample.has_y
        if sample.has_y != contents.has_y:
            raise LayoutError(
                f"{root / file} has frames with {3 + sample.has_y} axes, {names[0]} with {3 + contents.has_y}: import a cache of one data set",
                path=str(root / file),
            )
        if isinstance(sample.target, str) != isinstance(
            contents.targets[0] if contents.targets else sample.target, str
        ):
            raise LayoutError(
                f"{root / file} has the target {sample.target!r}, {names[0]} has {contents.targets[0]!r}: all targets must be whole "
                "numbers, or all texts",
                path=str(root / file),
            )
        contents.nnz.append(len(sample.indices))
        contents.targets.append(sample.target)
        if contents.samples is not None:
            narrow = sample._replace(indices=_narrow(sample.indices), values=_narrow(sample.values))
            left -= narrow.indices.nbytes + narrow.values.nbytes
            if left >= 0:
                contents.samples.append(narrow)
            else:
                contents.samples = None
        if progress is not None:
            progress(done, len(names), "reading")
    return contents


def _narrow(column: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return a column without negative numbers in the smallest unsigned dtype that holds it."""
    return column.astype(np.min_scalar_type(int(column.max(initial=0))))


def _classes(contents: _Contents, classes: Sequence[str] | int | None, root: Path) -> tuple[str, ...]:
    texts = {target for target in contents.targets if isinstance(target, str)}
    largest = max((target for target in contents.targets if isinstance(target, int)), default=-1)
    if isinstance(classes, int):
        if texts:
            raise UsageError(
                f"the targets in {root} are texts: pass the names of the classes, not their number"
            )
        names: tuple[str, ...] = tuple(map(str, range(classes)))
    elif classes is not None:
        names = tuple(classes)
    else:
        names = tuple(sorted(texts)) if texts else tuple(map(str, range(largest + 1)))
    unknown = sorted(texts - {*names})
    if unknown or largest >= len(names):
        what = (
            f"the target {unknown[0]!r}, which is not in classes"
            if unknown
            else f"the target {largest}, but {len(names)} classes are given"
        )
        raise UsageError(f"an item in {root} has {what}: correct classes")
    return names


def _columns(samples: Sequence[CachedSample], classes: tuple[str, ...]) -> SampleColumns:
    numbers = {name: number for number, name in enumerate(classes)}
    return SampleColumns(
        index=np.concatenate([sample.indices for sample in samples]),
        value=np.concatenate([sample.values for sample in samples]),
        nnz=np.array([len(sample.indices) for sample in samples], np.uint32),
        n_bins=np.array([sample.n_bins for sample in samples], np.uint32),
        label=np.array(
            [
                numbers[sample.target] if isinstance(sample.target, str) else sample.target
                for sample in samples
            ],
            np.int32,
        ),
        extras={},
    )


def _refuse_unknown_split(recipe: Recipe, split: str) -> None:
    known = dataset_named(recipe.source.dataset)
    if not known.described_by_recipe and split not in known.splits:
        raise UnknownNameError(
            f"{known.name} has no split {split!r}: it has {', '.join(known.splits)}",
            name=split,
            known=tuple(known.splits),
        )


def _refuse_empty(manifest: Manifest, root: Path) -> None:
    if not manifest.nnz:
        raise SourceError(f"no frame in {root} has a count: fill the cache again", path=str(root))
