"""One build of a feature set: start or resume the build, build the missing fragments, commit the set."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spikestore.pipeline.building.degenerate_sets import SetReview
from spikestore.pipeline.building.provenance import provenance
from spikestore.pipeline.building.reuse import TakenRows
from spikestore.pipeline.building.source_look import SourceLook, look_into
from spikestore.pipeline.execution.fragment_content import FragmentContent
from spikestore.pipeline.execution.fragment_task import FragmentJob
from spikestore.pipeline.execution.jobs import Scheduler
from spikestore.pipeline.growing.former_rows import FormerRows
from spikestore.pipeline.sources.file_hashes import check_unchanged
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.pipeline.transforms.choose import Executor, executor_for
from spikestore.store.build import Build
from spikestore.store.columns.event_counts import LOSSY_SHARE
from spikestore.store.feature_set import FeatureSet
from spikestore.store.progress import Progress
from spikestore.store.storage import Storage
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.plan import Plan, make_plan
from spikestore.store_schemas.errors import StoreError
from spikestore.store_schemas.specs.operations import FrameOperation, ToVoxelGrid
from spikestore.store_schemas.specs.transform import ExecutorName, Transform
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)


_SPARE = 16
"""Factor by which estimated numbers of events may be too small: files are compressed, and items differ.
A large factor costs little, because an unused chunk takes only 16 bytes."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """How to start a build. A resumed build keeps its plan, so it ignores `fragment_samples` and `former`.

    Attributes
    ----------
    workers : int
        Number of tasks that run at the same time.
    fragment_samples : int, optional
        Number of rows per fragment.
    restart : bool
        Start a new build instead of resuming an unfinished build.
    former : FormerRows, optional
        Positions of the new set's rows in committed sets. If `fragment_samples` is None and these sets have the transform of
        the new set, it gets the fragment size of ``former.sets[0]``, if this size is between half and twice the default.
    """

    workers: int = 1
    fragment_samples: int | None = None
    restart: bool = False
    former: FormerRows | None = None


def open_build(
    storage: Storage,
    located: LocatedSource,
    transform: Transform,
    request: BuildRequest,
    look: SourceLook | None = None,
) -> Build:
    """Return the unfinished build of a feature set; start a new build if there is none, or if ``request.restart`` is true.

    `look` has the properties of the source that are known before its recordings are read. By default, the source is opened to
    get these properties.

    Raises
    ------
    LayoutError
        A file does not have the expected layout, or has no recordings.
    UsageError
        The transform does not fit the recordings.
    DamagedError, NewerFormatError
        The stored plan is damaged, or has a newer format.
    ConflictError
        The unfinished build has other columns, or another number of samples, than the source and the transform give now.
    """
    look = look or look_into(located, transform)

    def plan() -> Plan:
        return plan_of_build(located, transform, look, request)

    build = Build.join_or_start(
        storage, Address(transform.key, located.source.key), plan, restart=request.restart
    )
    build.refuse_other_shape(look.layout, len(look.n_events))
    return build


def plan_of_build(
    located: LocatedSource, transform: Transform, look: SourceLook, request: BuildRequest
) -> Plan:
    """Return the plan of a new build; `look` has the properties of the source that are known before its recordings are read."""
    spare = _SPARE if look.estimates_events else 1
    wanted = functools.partial(make_plan, transform, located.source.key, look.layout, look.n_events)
    own = wanted(workers=request.workers, fragment_samples=request.fragment_samples, spare=spare)
    if request.former is None or request.former.derives or request.fragment_samples is not None:
        return own
    former = request.former.sets[0].features.manifest
    if not 1 / 2 <= former.fragment_samples / own.fragment_samples <= 2:
        return own
    alike = functools.partial(
        wanted, fragment_samples=former.fragment_samples, least_shard_values=former.shard_values
    )
    # Shards of the same length are copied, so half of the factor is enough where the former set has it.
    reusing = alike(spare=max(spare // 2, 1))
    return reusing if reusing.shard_values == former.shard_values else alike(spare=spare)


def refuse_unfinished(builds: Mapping[str, Build]) -> None:
    """Raise `StoreError` if a fragment of one of these builds is not finished; the message names each such build by its key in `builds`."""
    unfinished = {label: left for label, build in builds.items() if (left := build.unfinished())}
    if not unfinished:
        return
    lines = []
    for label, left in unfinished.items():
        some = ", ".join(map(str, left[:10])) + (" …" if len(left) > 10 else "")
        are = "is" if len(left) == 1 else "are"
        lines.append(
            f"cannot finalise {label}: {len(left):,} of {plural(builds[label].plan.fragments, 'fragment')} {are} missing ({some})"
        )
    raise StoreError(
        f"{'; '.join(lines)}: rerun the jobs that build the missing fragments, or run preprocess without --finalise. "
        "With --part I/N, a job builds the fragments I - 1, I - 1 + N, I - 1 + 2 N, and so on",
        fragments={label: tuple(left) for label, left in unfinished.items()},
    )


def build_features(
    build: Build,
    located: LocatedSource,
    transform: Transform,
    scheduler: Scheduler,
    *,
    executor: ExecutorName | Executor = "auto",
    former: FormerRows | None = None,
    allow_empty: bool = False,
    notes: Iterable[tuple[str, str]] = (),
    stored: Sequence[FragmentContent] = (),
    progress: Progress,
) -> FeatureSet:
    """Build the unfinished fragments, commit the feature set, and return it.

    Fragments that an interrupted build has stored are reused. The manifest records `notes` as provenance. If the caller has
    already built fragments, for example in a sweep, `stored` has the summaries of these fragments.

    Raises
    ------
    SourceError
        The recordings cannot be used; or the set is empty and `allow_empty` is False. In the second case, the fragments are
        kept, but nothing is committed.
    StoreError
        The store cannot be written to, is full, or has an object that contradicts this build; or a fragment that an interrupted
        build has stored is damaged.
    """
    began = time.perf_counter()
    source = located.source
    label = f"{source.dataset} {source.split}"
    plan = build.plan
    unfinished = build.unfinished()
    done = plan.samples - sum(len(plan.rows(fragment)) for fragment in unfinished)
    if not stored:
        report_resumed(label, done, plan)
    progress(done, plan.samples, label)
    job = FragmentJob(build, located, transform, executor, former)
    contents = [*stored]
    taken = TakenRows(label, former)
    for report in scheduler.run(job, unfinished):
        done += report.samples
        taken.add(report)
        if report.content is not None:
            contents.append(report.content)
        progress(done, plan.samples, label)
    taken.warn()
    check_unchanged(located.stamps)
    there = bool(located.stamps or located.parts)  # the recordings of a derived set may be missing
    review = SetReview(label, located, may_read=there and (former is None or not former.derives))
    features = build.commit(
        transform,
        source,
        provenance(
            executor=executor_for(transform, executor, has_y="y" in plan.layout.axes),
            workers=scheduler.workers,
            seconds=time.perf_counter() - began,
            reused_fragments=plan.fragments - len(unfinished),
            taken=taken.rows,
            finer=None if former is None else former.provenance,
        )
        | dict(notes),
        review=functools.partial(review.refuse_empty, allow_empty=allow_empty),
    )
    _report_losses(features, label)
    review.report(features, contents)
    return features


def report_resumed(label: str, done: int, plan: Plan) -> None:
    """Log one line if an interrupted build has stored samples; `done` is their number."""
    if done:
        logger.info(
            "%s: %s of %s %s stored already; the build resumes with %s per fragment, as before",
            label,
            f"{done:,}",
            plural(plan.samples, "sample"),
            "is" if done == 1 else "are",
            plural(plan.fragment_samples, "sample"),
        )


def _report_losses(features: FeatureSet, label: str) -> None:
    manifest = features.manifest
    if manifest.skipped:
        first = manifest.skipped[0]
        logger.warning(
            "%s: %s of %s %s skipped, the first because %s",
            label,
            f"{len(manifest.skipped):,}",
            plural(manifest.samples, "recording"),
            "was" if len(manifest.skipped) == 1 else "were",
            first.reason,
        )
    if manifest.events.lossy_samples:
        logger.warning(
            "%s: %s of %s lost more than %d %% of their events: as in Tonic, events %s are in no time bin and are "
            "dropped; see the column 'n_dropped' of the set",
            label,
            f"{manifest.events.lossy_samples:,}",
            plural(manifest.samples, "recording"),
            100 * LOSSY_SHARE,
            _times_in_no_bin(manifest.transform.to_frame),
        )


def _times_in_no_bin(frame: FrameOperation) -> str:
    """Return a text that says which times are in no time bin, such as ``after the last bin``."""
    if isinstance(frame, ToVoxelGrid):
        return "at the time of the last event"
    after = "after the last bin" if frame.include_incomplete else "after the last complete bin"
    return after if frame.start_time is None else f"before start_time and {after}"
