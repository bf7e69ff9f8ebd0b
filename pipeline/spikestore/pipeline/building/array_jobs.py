"""Builds by job arrays, without a Dask cluster: each of n jobs builds one part, then one more job commits.

All jobs use the same plan: the job that runs first stores the plan, and the other jobs read the plan. Part i of n has the
fragments i - 1, i - 1 + n, i - 1 + 2n, … The jobs may run at any time, in any order and more than once, and no job waits for
another. Only a job with the option ``finalise`` commits the sets. This job computes nothing. If fragments of a
set are missing, it reports them, and commits neither this set nor the sets after it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spikestore.pipeline.building.feature_build import BuildRequest, open_build
from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.reuse import Reuse, TakenRows
from spikestore.pipeline.execution.fragment_task import FragmentJob
from spikestore.pipeline.execution.schedulers import open_scheduler
from spikestore.pipeline.readers.items.items_reader import first_not_sendable
from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.store.feature_set import FeatureSet
from spikestore.store.names import refuse_other_classes
from spikestore.store.store import Store
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from spikestore.pipeline.execution.fragment_content import FragmentContent
    from spikestore.store_schemas.documents.address import Address

logger = logging.getLogger(__name__)


def fragments_of_part(part: tuple[int, int], count: int) -> range:
    """Return the fragment numbers of part ``(i, n)`` of a build with `count` fragments: every n-th number, from i - 1 on."""
    number, of = part
    return range(number - 1, count, of)


def build_part(
    part: tuple[int, int],
    missing: Sequence[RequestedSet],
    existing: Mapping[str, FeatureSet],
    store: Store,
    options: BuildOptions,
    reuse: Reuse,
    stored: Mapping[Address, Sequence[FragmentContent]],
) -> None:
    """Build the fragments of one part in each missing set, and commit nothing.

    Parameters
    ----------
    part : tuple of int and int
        ``(i, n)``: the number of the part, from 1, and the number of parts.
    missing : sequence of RequestedSet
        Sets to build.
    existing : mapping of str to FeatureSet
        The sets that the store has already, by split. These sets and the missing sets must number their classes in the same
        way.
    store : Store
        Store for the fragments.
    options : BuildOptions
        Options of the build.
    reuse : Reuse
        The committed sets from which rows are copied or computed.
    stored : mapping of Address to sequence of FragmentContent
        For each set, summaries of the fragments of this part that `SweepJob` has already stored.

    Raises
    ------
    UsageError, SourceError, StoreError
        The same errors as those of `spikestore.pipeline.preprocess`.
    """
    number, of = part
    classes = {split: features.classes for split, features in existing.items()}
    not_sendable = functools.partial(
        first_not_sendable, [place for wanted in missing for place in wanted.located.parts]
    )
    with open_scheduler(options.workers, options.scheduler, not_sendable=not_sendable) as scheduler:
        for wanted in missing:
            look, former = reuse.look(wanted)
            request = BuildRequest(scheduler.workers * of, options.fragment_samples, former=former)
            build = open_build(store.storage, wanted.located, wanted.transform, request, look)
            classes[wanted.split] = build.plan.layout.classes
            refuse_other_classes(classes)
            share = fragments_of_part(part, build.plan.fragments)
            unfinished = sorted(set(share) & set(build.unfinished()))
            job = FragmentJob(build, wanted.located, wanted.transform, options.executor, former)
            taken = TakenRows(wanted.label, former)
            samples = sum(len(build.plan.rows(fragment)) for fragment in unfinished)
            built = 0
            for report in scheduler.run(job, unfinished):
                built += report.samples
                taken.add(report)
                if options.progress is not None:
                    options.progress(built, samples, f"{wanted.label}, part {number}/{of}")
            taken.warn()
            logger.info(
                "%s: part %d/%d has %s, of which this job built %d",
                wanted.label,
                number,
                of,
                plural(len(share), "fragment"),
                len(unfinished) + len(stored.get(build.address, ())),
            )
