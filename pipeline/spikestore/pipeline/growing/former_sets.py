"""Search for committed sets that have rows of a new set: among the sets of the new set's name, then among other sets of the transform.

Two rows are the same if these are the same: the content of their recordings (SHA-256), data set, reader, reader version, format,
format version, decoding, sorting and transform. The file's name, the label, requested columns and the order may differ:
these come from the new source.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from spikestore.pipeline.growing.former_rows import FormerRows, FormerSet
from spikestore.store.columns.event_counts import EVENT_COLUMNS
from spikestore.store.feature_set import FeatureSet
from spikestore.store.selection import all_addresses
from spikestore.store.store import Store
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import StoreError
from spikestore.store_schemas.layout import Layout
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform

logger = logging.getLogger(__name__)

OTHER_SETS = 20
"""Maximum number of sets that are opened to look for rows, if the sets of the name have none."""

Recording = tuple[str, str, int]
"""Identity of a recording: the SHA-256 of its file, and name and version of its format."""


def sets_of_name(store: Store, name: str, requested: Collection[Address] = ()) -> list[FormerSet]:
    """Return the sets of a name; an empty list if the name does not exist or is damaged.

    Sets that cannot be opened are left out, and are reported unless they are in `requested`.
    """
    try:
        if store.ref(name) is None:
            return []
        opened = store.select(name).open_each()
    except StoreError as error:
        logger.warning("no rows are taken from %s: %s", name, error)
        return []
    former = []
    for selected, features in opened.items():
        if isinstance(features, FeatureSet):
            former.append(FormerSet(selected.label, selected.split, features))
        elif selected.address not in requested:
            logger.warning("no rows are taken from %s: %s", selected.label, features)
    return former


def find_former_rows(
    store: Store,
    named: Sequence[FormerSet],
    source: Source,
    transform: Transform,
    layout: Layout,
    samples: int,
) -> FormerRows | None:
    """Find the rows of a new set that committed sets have already. Return None if there are no such rows.

    Parameters
    ----------
    store : Store
        The store.
    named : sequence of FormerSet
        The sets to which the name of the new set refers before the build. The set of the same split as the new set is searched
        first. If no set in `named` has rows of the new set, other sets of the store are searched.
    source, transform, layout : Source, Transform and Layout
        Source, transform and layout of the new set. In the source, each recording is one file.
    samples : int
        Number of rows of the new set.
    """
    wanted = _recordings(source, samples)
    own_first = sorted(named, key=lambda former: former.split != source.split)
    for candidates in (own_first, _other_sets(store, transform, named)):
        rows = _find(candidates, wanted, source, transform, layout)
        if rows is not None:
            return rows
    return None


def _other_sets(store: Store, transform: Transform, named: Sequence[FormerSet]) -> Iterator[FormerSet]:
    """Yield at most `OTHER_SETS` sets of a transform that are not in `named`. Sets that cannot be opened are left out."""
    seen = {former.features.address for former in named}
    addresses = (each for each in all_addresses(store.storage, transform.key) if each not in seen)
    for address in itertools.islice(addresses, OTHER_SETS):
        with contextlib.suppress(StoreError):  # nobody asked for these sets
            features = store.find(address)
            if features is not None:
                yield FormerSet(address.short, "", features)


def _find(
    candidates: Iterable[FormerSet],
    wanted: Sequence[Recording | None],
    source: Source,
    transform: Transform,
    layout: Layout,
) -> FormerRows | None:
    set_of = np.full(len(wanted), -1, np.int16)
    row_of = np.zeros(len(wanted), np.int64)
    used: list[FormerSet] = []
    for former in candidates:
        if not _is_read_alike(former.features, source, transform, layout):
            continue
        rows = _rows_of(former.features)
        found = [
            (place, rows[recording])
            for place, recording in enumerate(wanted)
            if set_of[place] < 0 and recording in rows
        ]
        if found:
            places, numbers = np.array(found, np.int64).T
            set_of[places], row_of[places] = len(used), numbers
            used.append(former._replace(features=without_files(former.features)))
        if (set_of >= 0).all():
            break
    return FormerRows(tuple(used), set_of, row_of) if used else None


def _is_read_alike(features: FeatureSet, source: Source, transform: Transform, layout: Layout) -> bool:
    """Return whether equal recordings have equal rows in `features` and in the new set, except for labels and requested columns."""
    if features.address.transform_key != transform.key:
        return False
    return _shape(features.layout) == _shape(layout) and _reading(features.manifest.source) == _reading(
        source
    )


def _shape(layout: Layout) -> tuple[object, ...]:
    """Return axes, sites and columns of a layout; of the optional columns, only those in `EVENT_COLUMNS`."""
    given = set(layout.extras) - set(EVENT_COLUMNS)
    return layout.axes, layout.sites, tuple(column for column in layout.columns if column[0] not in given)


def _reading(source: Source) -> tuple[object, ...]:
    """Return the members of a source that determine what is read from a recording of given content and format."""
    decoding = None
    if source.folder is not None:
        decoding = source.folder.decoding.model_copy(update={"formats": {}})
    return source.dataset, source.reader, source.reader_version, source.sort, decoding


def _rows_of(features: FeatureSet) -> dict[Recording | None, int]:
    """Return the row of each recording in a set; skipped recordings are left out."""
    manifest = features.manifest
    rows = {
        recording: row
        for row, recording in enumerate(_recordings(manifest.source, manifest.samples))
        if recording is not None
    }
    skipped = {skip.row for skip in manifest.skipped}
    return {recording: row for recording, row in rows.items() if row not in skipped}


def _recordings(source: Source, samples: int) -> list[Recording | None]:
    """Return the identity of each recording. The identity of a recording is None if the format of its file is unknown, for example because the format's package is not installed."""
    files = source.files[:samples]
    if source.folder is None:
        return [(file.sha256, "", 0) for file in files]
    # Imported here: sets of other kinds need none of the modules of formats.
    from spikestore.pipeline.readers.formats.registry import format_of

    versions = source.folder.decoding.formats
    formats = [format_of(file.name) for file in files]
    return [
        (file.sha256, known.name, versions[known.name])
        if known is not None and known.name in versions
        else None
        for file, known in zip(files, formats, strict=True)
    ]


def without_files(features: FeatureSet) -> FeatureSet:
    """Return a copy of the set; the source in the copy lists only the first file.

    Each task contains the set, in which a list of 60,000 files would take 12 MB.
    """
    manifest = features.manifest
    folder = None if manifest.source.folder is None else manifest.source.folder.part(slice(0, 1))
    source = manifest.source.model_copy(update={"files": manifest.source.files[:1], "folder": folder})
    return FeatureSet(features.storage, features.address, manifest.model_copy(update={"source": source}))
