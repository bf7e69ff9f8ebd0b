"""Recompute fragments of a committed feature set from its recordings, for repair."""

from __future__ import annotations

from pathlib import Path

from spikestore.pipeline.sources.file_hashes import check_unchanged
from spikestore.pipeline.sources.folder_sources import locate_recorded
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.store.build import Build
from spikestore.store.feature_set import FeatureSet
from spikestore.store.upkeep.repair import RowSource
from spikestore.store.upkeep.repair_rewrite import FragmentRows
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.errors import SourceError, SourceNotFoundError
from spikestore.store_schemas.specs.source import Source


def rows_from_recordings(features: FeatureSet, data: Path | str) -> RowSource:
    """Return a function that recomputes fragments of a feature set.

    The function reads the recordings and the manifest, but no other object of the set.

    Parameters
    ----------
    features : FeatureSet
        The set.
    data : Path or str
        Folder with the recordings.

    Raises
    ------
    SourceNotFoundError
        The folder has no recordings of the set, or the set was not built from files of recordings.
    SourceError
        A file does not have the content from which the set was built.
    """
    source = features.manifest.source
    if source.items is not None:
        raise SourceNotFoundError(
            f"the recordings of {source.dataset} {source.split} come from an object in Python, and not from files: run preprocess with that object "
            "into another store, and repair from that store (--from URL)"
        )
    if source.cache is not None:
        raise SourceNotFoundError(
            f"the set of {source.dataset} {source.split} was imported from a cache of Tonic, not computed from recordings: import the cache "
            "into another store, and repair from that store (--from URL)"
        )
    located = located_recordings(source, data)

    def rows(plan: Plan, fragment: int) -> FragmentRows:
        return _rows(features, located, plan, fragment)

    return rows


def located_recordings(source: Source, data: Path | str) -> LocatedSource:
    """Return the recordings of a committed set. The set must have been built from files, not from an object in Python or a cache.

    Parameters
    ----------
    source : Source
        Source of the set.
    data : Path or str
        Folder with the recordings.

    Raises
    ------
    SourceNotFoundError
        The folder has no recordings of the set.
    SourceError
        A file does not have the content from which the set was built.
    """
    located = (
        locate_recorded(source, data)
        if source.folder is not None
        else make_source(
            source.dataset,
            source.split,
            data,
            sort=source.sort,
            on_error=source.on_error,
            limit=source.limit,
            columns=source.columns,
        )
    )
    if located.source.key != source.key:
        raise SourceError(
            f"{data} does not have the recordings of {source.dataset} {source.split} from which the set was built: "
            f"{_difference(located.source, source)}",
            path=str(data),
        )
    return located


def _rows(features: FeatureSet, located: LocatedSource, plan: Plan, fragment: int) -> FragmentRows:
    # Imported here: a repair from a store needs neither numba nor HDF5.
    from spikestore.pipeline.execution.fragment_task import FragmentJob
    from spikestore.pipeline.execution.transformed_rows import transform_rows

    job = FragmentJob(Build(features.storage, plan), located, features.manifest.transform).only(fragment)
    check_unchanged(job.located.stamps)
    with job.located.open() as reader:
        columns, skipped, events = transform_rows(job, reader, plan.rows(fragment))
    check_unchanged(job.located.stamps)
    return FragmentRows(columns, tuple(skipped), events)


def _difference(located: Source, recorded: Source) -> str:
    files = {file.name: file for file in located.files}
    for file in recorded.files:
        if file.name not in files:
            return f"{file.name} is missing"
        if files[file.name] != file:
            return f"{file.name} has different content"
    if located.reader_version != recorded.reader_version:
        return (
            f"this installation has version {located.reader_version} of the reader {located.reader}, but the set was built with version {recorded.reader_version} of the reader; "
            "install the package versions of the build (see spikestore show)"
        )
    return "the folder has additional files"
