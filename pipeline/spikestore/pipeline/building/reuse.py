"""Rows that a build takes from committed sets, so it does not read the recordings of these rows; and log messages about these rows."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from spikestore.pipeline.readers.registry import dataset_named
from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.store.feature_set import FeatureSet
from spikestore.store.upstreams import Upstreams
from spikestore.store_schemas.errors import SourceNotFoundError
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from spikestore.pipeline.building.source_look import SourceLook
    from spikestore.pipeline.deriving.finer_rows import FinerRows
    from spikestore.pipeline.execution.fragment_task import FragmentReport
    from spikestore.pipeline.growing.former_rows import FormerRows, FormerSet
    from spikestore.pipeline.recipes.resolve import LockedSet
    from spikestore.store.names import NamedSet
    from spikestore.store.store import Store
    from spikestore.store_schemas.documents.address import Address

logger = logging.getLogger(__name__)


class Reuse:
    """The committed sets from which the sets of one command take rows.

    Parameters
    ----------
    store : Store
        The store.
    name : str, optional
        Name of the new sets.
    requested : collection of Address
        The new sets. If another set of `name` is missing or damaged, this class logs a warning. It logs no warning if a new
        set is missing or damaged, because the build of this set builds or reports it.
    enabled : bool
        If False, no rows are copied from other sets that have the transform of the new set and some of its recordings.
    derive : bool
        If False, no set is derived from a finer set. A finer set has the same recordings, but shorter time bins or more sites.
    committing : bool
        If True, all rows are stored already, so no rows are taken or derived.
    upstreams : Upstreams, optional
        Stores that are searched for finer sets after `store`.
    """

    def __init__(
        self,
        store: Store,
        name: str | None,
        requested: Collection[Address] = (),
        *,
        enabled: bool = True,
        derive: bool = True,
        committing: bool = False,
        upstreams: Upstreams | None = None,
    ) -> None:
        self._store, self.name = store, name
        self._requested, self._enabled = requested, enabled
        self._derive, self._committing = derive, committing
        self.upstreams = Upstreams(()) if upstreams is None else upstreams
        self._looked: dict[Address, tuple[SourceLook, FormerRows | None]] = {}

    @cached_property
    def _named(self) -> list[FormerSet]:
        # Imported here, because only builds need it: a run with nothing to do takes half a second.
        from spikestore.pipeline.growing.former_sets import sets_of_name

        return [] if self.name is None else sets_of_name(self._store, self.name, self._requested)

    def report_changed_splits(self, wanted: Mapping[str, NamedSet], advice: str = "") -> None:
        """Log one warning if recordings change their split when the name gets the new sets."""
        ref = None if self.name is None else self._store.ref(self.name)
        if self.name is None or ref is None:
            return
        if any(
            split not in ref.splits or not named.has_keys_of(ref.splits[split])
            for split, named in wanted.items()
        ):
            # The hash of a file identifies a recording only if the file has no other recordings.
            sources = {
                split: named.source
                for split, named in wanted.items()
                if named.source.items is None and dataset_named(named.source.dataset).file_per_recording
            }
            from spikestore.pipeline.growing.changed_splits import report_changed_splits

            report_changed_splits(self.name, self._named, sources, advice)

    def look(self, wanted: RequestedSet) -> tuple[SourceLook, FormerRows | None]:
        """Return the known properties of a new set's source, without reading recordings, and the rows that stored sets provide.

        A stored set provides the rows that it contains; a finer set also provides the rows that can be computed from its rows.
        If a finer set provides all rows, no file of the source is opened. A second call for the same set returns the same
        objects.
        """
        if wanted.address not in self._looked:
            self._looked[wanted.address] = self._look(wanted)
        return self._looked[wanted.address]

    def _look(self, wanted: RequestedSet) -> tuple[SourceLook, FormerRows | None]:
        # Imported here: a run with nothing to do needs no HDF5.
        from spikestore.pipeline.building.source_look import look_into

        finer = None if self._committing else self._finer_rows(wanted)
        if finer is not None and finer.available.all():
            return _look_of(finer), finer
        look = look_into(wanted.located, wanted.transform)
        return look, self.former_rows(wanted, look) if finer is None else finer

    def _finer_rows(self, wanted: RequestedSet) -> FinerRows | None:
        """Return the rows of a new set that can be computed from a finer set, and log their number; None if there is no such set."""
        rows = self._find_finer_rows(wanted)
        if rows is not None:
            self._report(wanted.label, rows, "derived")
        return rows

    def _find_finer_rows(self, wanted: RequestedSet | LockedSet) -> FinerRows | None:
        from spikestore.pipeline.deriving.finer_sets import find_finer_rows

        address = wanted.address
        if not self._derive or address is None:
            return None
        return find_finer_rows(self._store, self.upstreams, address, wanted.transform, label=wanted.label)

    def without_recordings(self, wanted: LockedSet, error: SourceNotFoundError) -> RequestedSet:
        """Return a locked set, whose recordings are missing, as a set that is computed from a finer set.

        Raises
        ------
        SourceNotFoundError
            Not all rows can be computed from a finer set. If some rows can be computed, the message says how many recordings
            must be read. Otherwise `error` itself is raised.
        UsageError
            The recipe states something else than the lock, for example another limit.
        """
        rows = self._find_finer_rows(wanted)
        if rows is None or wanted.address is None:
            raise error
        missing = int((~rows.available).sum())
        if missing:
            raise SourceNotFoundError(
                f"{error}; the set cannot be derived from {rows.describe()} alone, because "
                f"{plural(missing, 'recording')} must be read",
                **error.details,
            )
        # Opened again, because it then has all files of its source.
        finer = FeatureSet.open(rows.finer.storage, rows.finer.address)
        wanted.refuse_other_source(finer.manifest.source)
        located = LocatedSource(finer.manifest.source, Path(), ())
        if self._committing:  # the finer set only says which recordings the locked set has
            self._looked[wanted.address] = _look_of(rows), None
        notes = tuple(wanted.recipe.notes.items())
        return RequestedSet(wanted.split, located, wanted.transform, wanted.digest, notes)

    def former_rows(self, wanted: RequestedSet, look: SourceLook) -> FormerRows | None:
        """Return which rows of a new set are in committed sets, and in which sets, and log one line; return None if there are no such rows."""
        if not self._enabled or self._committing or not look.is_file_per_recording:
            return None
        from spikestore.pipeline.growing.former_sets import find_former_rows

        samples = len(look.n_events)
        source = wanted.located.source
        rows = find_former_rows(self._store, self._named, source, wanted.transform, look.layout, samples)
        if rows is not None:
            self._report(wanted.label, rows, "taken")
        return rows

    @staticmethod
    def _report(label: str, rows: FormerRows, how: str) -> None:
        samples, taken = len(rows.available), int(rows.available.sum())
        logger.info(
            "%s: %s of %s %s %s from %s; %s %s read",
            label,
            f"{taken:,}",
            plural(samples, "recording"),
            "is" if taken == 1 else "are",
            how,
            rows.describe(),
            f"{samples - taken:,}",
            "is" if samples - taken == 1 else "are",
        )


def _look_of(finer: FinerRows) -> SourceLook:
    """Return the `SourceLook` of a new set from a finer set; no recording is opened. The finer set must have all rows of the new set."""
    from spikestore.pipeline.building.source_look import SourceLook

    return SourceLook(finer.layout, finer.finer.column("n_events").astype("int64"), False, False)


def events_to_read(look: SourceLook, former: FormerRows | None) -> tuple[int, float]:
    """Return the number of events to read, and the number of events from which the time of the build is estimated.

    For rows that are taken from stored sets, the second number includes a share of their events, because taking rows needs time too.
    """
    total = int(look.n_events.sum())
    if former is None:
        return total, float(total)
    read = int(look.n_events[~former.available].sum())
    return read, read + former.share_of_time * (total - read)


class TakenRows:
    """Counts the rows that tasks took from former sets, and reports the rows that could not be read.

    Parameters
    ----------
    label : str
        Name of the new set in messages.
    former : FormerRows, optional
        The rows that the tasks take.
    """

    def __init__(self, label: str, former: FormerRows | None) -> None:
        from spikestore.pipeline.growing.former_rows import FormerRows

        self._label, self.rows = label, 0
        self._kind = FormerRows.kind if former is None else former.kind
        self._problems: list[str] = []

    def add(self, report: FragmentReport) -> None:
        """Add the report of a finished task."""
        self.rows += report.taken
        self._problems += report.problems

    def warn(self) -> None:
        """Log one warning if rows of committed sets could not be read."""
        if self._problems:
            logger.warning(
                "%s: some rows of %s cannot be read, so they were computed from the recordings (%s; the first: %s)",
                self._label,
                self._kind,
                plural(len(self._problems), "problem"),
                self._problems[0],
            )
