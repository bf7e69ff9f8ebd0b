"""`import_cache`: store the frames in a cache of Tonic's ``DiskCachedDataset`` as a feature set.

The source of the set is always the cache itself, even if the user passes the recordings: see
docs/decisions/0066-a-cache-is-its-own-source.md.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spikestore.pipeline.building.provenance import provenance
from spikestore.pipeline.execution.jobs import Scheduler
from spikestore.pipeline.execution.schedulers import CLUSTER_START, InProcess, open_scheduler
from spikestore.pipeline.importing.cache_files import CachedSample, list_cache
from spikestore.pipeline.importing.cache_jobs import ChunkContents, ReadJob, StoreJob
from spikestore.pipeline.importing.compared_rows import compare_rows
from spikestore.pipeline.readers.registry import dataset_named
from spikestore.pipeline.recipes.recipe import Recipe, load_recipe
from spikestore.pipeline.sources.file_hashes import check_unchanged
from spikestore.pipeline.sources.item_lists import names_of_classes
from spikestore.pipeline.sources.source_files import identify_files
from spikestore.store.build import Build
from spikestore.store.feature_set import FeatureSet
from spikestore.store.machine import available_cores, free_memory_bytes
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
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)

READER = "tonic-disk-cache"
"""Name of the reader in the source of an imported cache."""
_VERSION = 1

COMPARED = 64
"""Maximum number of rows that are compared with the recordings, unless all rows are compared."""

MOST_KEPT_BYTES = 2**30
"""Maximum size of the non-zeros that stay in memory from the check to the storing, in bytes; the maximum is a quarter of the free memory, if that is less. If they need more, all files are read twice."""


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
    workers: int | None = None,
    progress: Progress | None = None,
) -> FeatureSet:
    """Store the frames of a cache of Tonic's ``DiskCachedDataset`` as a feature set, and return this set.

    Row i is item i of the cache. The key of the set depends on the content of the cache's files and on the transform of the recipe. A
    set that `preprocess` computes from the recordings has another key.

    Parameters
    ----------
    cache : str or Path
        Folder with the files ``0_0.hdf5``, ``1_0.hdf5`` and so on.
    recipe : str, Path or Recipe
        Recipe with the data set, and with the transform that filled the cache.
    split : str
        Split of the data set that was cached.
    store, name, move
        See `spikestore.pipeline.preprocess`.
    classes : sequence of str or int, optional
        Names of the classes in the order of the class numbers, or the number of classes. By default, if the targets are
        numbers, the names are ``0`` to the largest target; if the targets are texts, the names are the sorted targets. Class
        names are part of the key.
    data : str or Path, optional
        Folder with the recordings. With this folder, up to 64 rows (all rows if `compare_all`) are compared with frames and labels that
        are computed from the recordings.
    compare_all : bool
        Compare all rows; needs `data`.
    workers : int, optional
        Number of worker processes that read the cache and store its items; if it is 0, this process does the work. By default,
        one worker process per core, or none if this process alone is expected to finish sooner.
    progress : callable, optional
        Called as ``progress(items_done, items_total, label)``, first while items are read and checked, then while samples are stored.

    Raises
    ------
    LayoutError
        A file is missing or damaged, a file has no frames, or the shape or the counts of the frames do not fit the transform.
    SourceError
        A row differs from the recordings, a file changed during the import, or all frames are empty.
    UsageError
        The recipe or a parameter is wrong, the cache does not exist, or the name refers to another set.
    StoreError
        The store cannot be read or written to, or an unfinished build of this set has other columns or another number of samples.
    WorkerError
        The worker processes cannot be started, or end repeatedly.
    """
    root = Path(cache)
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if loaded.sweep:
        raise UsageError(
            "a cache has the frames of one transform, but the recipe has [[sweep]]: remove [[sweep]]",
            field="sweep",
        )
    operation = loaded.transform_spec().float_operation
    if operation is not None:
        raise UsageError(
            f"an imported set has counts of events, but {operation.op} of the recipe gives real numbers: build the set "
            "from its recordings with spikestore preprocess",
            field="transform",
        )
    refuse_wrong_names(split, *(() if name is None else (name,)))
    _refuse_unknown_split(loaded, split)
    if compare_all and data is None:
        raise UsageError(
            "compare_all (--all) compares rows with the recordings: pass data=, or --data FOLDER, too"
        )
    opened = store if isinstance(store, Store) else Store(default_location() if store is None else store)
    began = time.perf_counter()
    names, transform = list_cache(root), loaded.transform_spec()
    files, stamps = identify_files(root, sorted(names), f"cache/{split}")
    reads = ReadJob(root, tuple(names), transform, keep=True)
    first, seconds = _first_chunk(reads)
    with open_scheduler(_processes(workers, seconds)) as scheduler:
        contents = _look_into(reads, first, scheduler, progress)
        class_names = _classes(contents, classes, [root / item for item in names])
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
            compare_rows(
                root,
                names,
                rows,
                class_names,
                loaded,
                origin=origin,
                split=split,
                data=data,
                storage=opened.storage,
            )
            compared = len(rows)
            logger.info(
                "%s: compared %s of %s with the recordings in %s, without a difference",
                root,
                f"{compared:,}",
                plural(len(names), "row"),
                data,
            )
        features = opened.find(address)
        if features is None:
            layout = layout_of(transform, has_y=contents.has_y, classes=class_names, extras=())

            def plan() -> Plan:
                nnz = np.array(contents.nnz, np.int64)
                return make_plan(transform, source.key, layout, nnz, workers=scheduler.workers)

            build = Build.join_or_start(opened.storage, address, plan)
            build.refuse_other_shape(layout, len(names))
            unfinished = build.unfinished()
            check_unchanged(stamps)
            # In the order of items.
            stamp_of = {stamp.path.name: stamp for stamp in stamps}
            ordered = tuple(stamp_of[file] for file in names)
            store_job = StoreJob(build, ordered, transform, class_names, contents.samples)
            done = len(names) - sum(len(build.plan.rows(fragment)) for fragment in unfinished)
            # Items in memory are stored by this process: workers would have to receive them again.
            stores = scheduler if contents.samples is None else InProcess()
            for report in stores.run(store_job, unfinished):
                done += report.samples
                if progress is not None:
                    progress(done, len(names), f"storing {split}")
            how = provenance(
                executor=READER,
                workers=scheduler.workers,
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


def _first_chunk(reads: ReadJob) -> tuple[ChunkContents, float]:
    """Return the first chunk, and an estimate of the time in seconds that this process needs for all chunks."""
    began = time.perf_counter()
    first = reads.run(0)
    return first, (time.perf_counter() - began) / len(first.nnz) * len(reads.names)


def _processes(workers: int | None, seconds: float) -> int | None:
    """Return `workers`, or 0 if `workers` is None and one process is faster than several; one process needs about `seconds`."""
    # Threads would wait for each other: HDF5 does one thing at a time in a process.
    if workers is None and seconds < CLUSTER_START + seconds / available_cores():
        return 0
    return workers


@dataclass(slots=True)
class _Contents:
    """Properties of all items of a cache. `samples` contains the items, or is None if the items are not kept in memory."""

    has_y: bool
    nnz: list[int]
    targets: list[int | str]
    samples: list[CachedSample] | None


def _look_into(
    reads: ReadJob, first: ChunkContents, scheduler: Scheduler, progress: Progress | None
) -> _Contents:
    """Read all files of the cache, except those of `first`, so that every fault is reported before the store changes."""
    free = free_memory_bytes()
    left = MOST_KEPT_BYTES if free is None else min(MOST_KEPT_BYTES, free // 4)
    keep = first.nbytes * reads.chunks <= left
    chunks: dict[int, ChunkContents] = {}
    done = 0
    others = scheduler.run(replace(reads, keep=keep), range(1, reads.chunks))
    for chunk in itertools.chain([first], others):
        left -= chunk.nbytes
        if keep and left < 0:
            keep = False
            chunks = {number: each._replace(samples=None) for number, each in chunks.items()}
        chunks[chunk.chunk] = chunk if keep else chunk._replace(samples=None)
        done += len(chunk.nnz)
        if progress is not None:
            progress(done, len(reads.names), "reading")
    ordered = [chunks[number] for number in range(reads.chunks)]
    nnz, has_y, targets = (
        [fact for chunk in ordered for fact in getattr(chunk, name)] for name in ("nnz", "has_y", "targets")
    )
    _refuse_mixed(reads, has_y, targets)
    samples = [sample for chunk in ordered for sample in chunk.samples or ()]
    return _Contents(has_y[0], nnz, targets, samples if keep else None)


def _refuse_mixed(reads: ReadJob, has_y: list[bool], targets: list[int | str]) -> None:
    """Raise `LayoutError` if an item differs from the first item in the number of axes or in the kind of target (number or text)."""
    for name, with_y, target in zip(reads.names, has_y, targets, strict=True):
        path = reads.root / name
        if with_y != has_y[0]:
            raise LayoutError(
                f"{path} has frames with {3 + with_y} axes, but the frames of {reads.names[0]} have {3 + has_y[0]} axes: import a cache of one data set",
                path=str(path),
            )
        if isinstance(target, str) != isinstance(targets[0], str):
            raise LayoutError(
                f"{path} has the target {target!r}, but {reads.names[0]} has {targets[0]!r}: all targets must be whole numbers, or all texts",
                path=str(path),
            )


def _classes(
    contents: _Contents, classes: Sequence[str] | int | None, paths: Sequence[Path]
) -> tuple[str, ...]:
    texts = {target for target in contents.targets if isinstance(target, str)}
    largest = max((target for target in contents.targets if isinstance(target, int)), default=-1)
    if isinstance(classes, int):
        if texts:
            raise UsageError(
                f"the targets in {paths[0].parent} are texts: pass the names of the classes, not their number"
            )
        names: tuple[str, ...] = tuple(map(str, range(classes)))
    elif classes is not None:
        names = names_of_classes(classes)
    else:
        names = tuple(sorted(texts)) if texts else tuple(map(str, range(largest + 1)))
    unknown = sorted(texts - {*names})
    if unknown or largest >= len(names):
        target = unknown[0] if unknown else largest
        path = paths[contents.targets.index(target)]
        what = (
            "which is not one of the given classes"
            if unknown
            else f"but the argument classes has {plural(len(names), 'name')}"
        )
        raise UsageError(
            f"{path} has the target {target!r}, {what}: pass all classes with classes= (--classes)",
            path=str(path),
        )
    return names


def _refuse_unknown_split(recipe: Recipe, split: str) -> None:
    dataset = dataset_named(recipe.source.dataset)
    owner, known = dataset.name, tuple(dataset.splits)
    # Only its recordings say which splits such a data set has, unless the recipe names them.
    if dataset.described_by_recipe:
        owner, known = "the recipe", recipe.source.splits or tuple(recipe.source.folder_settings.shares)
    if split not in known and (known or not dataset.described_by_recipe):
        raise UnknownNameError(
            f"{owner} has no split {split!r}: it has {', '.join(known)}", name=split, known=known
        )


def _refuse_empty(manifest: Manifest, root: Path) -> None:
    if not manifest.nnz:
        raise SourceError(f"all frames in {root} are empty: fill the cache again", path=str(root))
