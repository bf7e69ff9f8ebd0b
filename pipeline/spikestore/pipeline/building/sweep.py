"""Sweeps: several sets of the same recordings are built together, so that each recording is read once.

This module stores the fragments of all these sets, but commits no set. Afterwards each set is built on its own: that build finds
the stored fragments and commits the set.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from spikestore.pipeline.building.array_jobs import fragments_of_part
from spikestore.pipeline.building.feature_build import (
    BuildRequest,
    open_build,
    plan_of_build,
    report_resumed,
)
from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.source_look import SourceLook
from spikestore.pipeline.execution.fragment_content import FragmentContent
from spikestore.pipeline.execution.fragment_task import FragmentJob, SweepJob
from spikestore.pipeline.execution.jobs import Scheduler
from spikestore.pipeline.execution.schedulers import open_scheduler
from spikestore.pipeline.readers.event_block import are_few
from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.pipeline.transforms.choose import EVENTS_PER_SECOND, Executor, executor_for
from spikestore.store.storage import Storage
from spikestore.store_schemas.documents.address import Address

logger = logging.getLogger(__name__)


class SetToBuild(NamedTuple):
    """A set to build from its recordings, and what is known about them before they are read."""

    wanted: RequestedSet
    look: SourceLook


def build_together(
    sets: Sequence[SetToBuild], storage: Storage, options: BuildOptions
) -> dict[Address, list[FragmentContent]]:
    """Build the fragments of sets, commit nothing, and return the summaries of the fragments (`FragmentContent`).

    If several sets have the same source, their fragments are built together.

    Parameters
    ----------
    sets : sequence of SetToBuild
        The sets; their recordings must be in files.
    storage : Storage
        Storage of the fragments.
    options : BuildOptions
        Options of the build.

    Raises
    ------
    UsageError, SourceError, StoreError
        The same errors as those of `spikestore.pipeline.preprocess`.
    """
    events: Counter[str] = Counter()
    for wanted, look in sets:
        events[wanted.transform.key] += int(look.n_events.sum())
    executors = [
        executor_for(
            wanted.transform,
            options.executor,
            has_y="y" in look.layout.axes,
            # The same as in a build of this variant alone, because the manifest names the executor.
            few_events=options.scheduler is None and are_few(events[wanted.transform.key]),
        )
        for wanted, look in sets
    ]
    seconds = sum(
        int(each.look.n_events.sum()) / EVENTS_PER_SECOND[executor]
        for each, executor in zip(sets, executors, strict=True)
    )
    with open_scheduler(options.workers, options.scheduler, seconds=seconds) as scheduler:
        ordered = sorted(zip(sets, executors, strict=True), key=_source_key)
        contents: dict[Address, list[FragmentContent]] = {}
        for _, group in itertools.groupby(ordered, key=_source_key):
            contents |= _build_group(list(group), storage, scheduler, options)
    return contents


def _source_key(each: tuple[SetToBuild, Executor]) -> str:
    return each[0].wanted.located.source.key


def _build_group(
    group: Sequence[tuple[SetToBuild, Executor]],
    storage: Storage,
    scheduler: Scheduler,
    options: BuildOptions,
) -> dict[Address, list[FragmentContent]]:
    """Build the fragments of sets of one source, and return the summaries of the fragments.

    All new builds get the same fragment size. A resumed build keeps its own fragment size. Sets with the same fragment
    size are built together.
    """
    of = 1 if options.part is None else options.part[1]
    request = BuildRequest(scheduler.workers * of, options.fragment_samples)
    smallest = min(
        plan_of_build(wanted.located, wanted.transform, look, request).fragment_samples
        for (wanted, look), _ in group
    )
    request = BuildRequest(request.workers, smallest, options.restart)
    jobs: dict[int, list[FragmentJob]] = {}
    for (wanted, look), executor in group:
        build = open_build(storage, wanted.located, wanted.transform, request, look)
        job = FragmentJob(build, wanted.located, wanted.transform, executor)
        jobs.setdefault(build.plan.fragment_samples, []).append(job)  # an older build keeps its size
    first, _ = group[0]
    contents: dict[Address, list[FragmentContent]] = {}
    for together in jobs.values():
        plan = together[0].plan
        unfinished = {fragment for job in together for fragment in job.build.unfinished()}
        missing = sum(len(plan.rows(fragment)) for fragment in unfinished)
        if options.part is not None:
            unfinished &= set(fragments_of_part(options.part, plan.fragments))
        label = f"{first.wanted.label}, {len(together)} {'variant' if len(together) == 1 else 'variants'}"
        logger.info("%s: each recording is read once", label)
        report_resumed(label, plan.samples - missing, plan)
        samples, done = sum(len(plan.rows(fragment)) for fragment in unfinished), 0
        for report in scheduler.run(SweepJob(tuple(together)), sorted(unfinished)):
            done += report.samples
            for job, content in zip(together, report.variants, strict=True):
                if content is not None:
                    contents.setdefault(job.build.address, []).append(content)
            if options.progress is not None:
                options.progress(done, samples, label)
    return contents
