"""A build in parts, for job arrays without a cluster: ``--part 3/16`` in sixteen jobs, then ``--finalise`` in one.

Every job joins the same plan, because a plan is put-if-absent; part i of n takes fragments i - 1, i - 1 + n, … The
jobs may run at any time, in any order and more than once; nobody waits for anybody. Nothing is committed before
``--finalise``, which computes nothing and says what is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spikestore.pipeline.building.feature_build import BuildRequest, open_build
from spikestore.pipeline.building.preprocess import BuildOptions, had_already
from spikestore.pipeline.execution.fragment_task import FragmentJob
from spikestore.pipeline.recipes.recipe_lock import RecipeLock
from spikestore.pipeline.recipes.requested_sets import Target
from spikestore.store.names import refuse_other_classes
from spikestore.store.store import Store
from spikestore.store_schemas.errors import UsageError

_PART = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Part:
    """One share of the fragments of a build.

    Attributes
    ----------
    number : int
        Which share, from 1.
    of : int
        How many shares there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Return the part that ``I/N`` means.

        Raises
        ------
        UsageError
            It is no part, or I is not between 1 and N.
        """
        match = _PART.fullmatch(text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"--part is I/N with I from 1 to N, such as 3/16, not {text!r}")
        return cls(int(match[1]), int(match[2]))

    def fragments(self, count: int) -> range:
        """Return this share of `count` fragments."""
        return range(self.number - 1, count, self.of)


def build_part(
    targets: list[Target],
    store: Store,
    part: Part,
    workers: int | None,
    options: BuildOptions,
    lock: RecipeLock | None = None,
) -> dict[str, tuple[int, int]]:
    """Build one share of the fragments of each target that neither the store nor an upstream has; commit none of it.

    A set that an upstream has is copied, by all parts that find it there; what one has put the others do not fetch.

    Returns
    -------
    dict of str to (int, int)
        By split: fragments of this part, and how many of them were built now.

    Raises
    ------
    UsageError, SourceError, StoreError
        As `spikestore.pipeline.preprocess`.
    """
    from spikestore.pipeline.execution.schedulers import open_scheduler

    done: dict[str, tuple[int, int]] = {}
    found, missing = had_already(targets, store, options, lock)
    classes = {split: features.classes for split, features in found.items()}
    if not missing:
        return done
    with open_scheduler(workers, options.scheduler) as runs:
        for target in missing:
            request = BuildRequest(runs.workers * part.of, options.fragment_samples)
            build = open_build(store.storage, target.located, target.transform, request)
            classes[target.split] = build.plan.layout.classes
            refuse_other_classes(classes)
            mine = part.fragments(build.plan.fragments)
            left = sorted(set(mine) & set(build.unfinished()))
            job = FragmentJob(build, target.located, target.transform, options.executor)
            label = f"{target.label}, part {part.number}/{part.of}"
            samples = sum(len(build.plan.rows(fragment)) for fragment in left)
            built = 0
            for report in runs.run(job, left):
                built += report.samples
                if options.progress is not None:
                    options.progress(built, samples, label)
            done[target.split] = len(mine), len(left)
    return done
