"""Warning about recordings that change their split when a name gets new sets.

If a recipe has `shares` but no `group`, a hash of the path decides the split. With such a recipe, a renamed file may move from
the training split to the test split.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from spikestore.pipeline.growing.former_rows import FormerSet
from spikestore.store_schemas.specs.source import Source

logger = logging.getLogger(__name__)


def report_changed_splits(
    name: str,
    named: Sequence[FormerSet],
    sources: Mapping[str, Source],
    advice: str = "",
) -> None:
    """Log one warning if recordings of a name move to another split; files with the same content are the same recording.

    Parameters
    ----------
    name : str
        The name.
    named : sequence of FormerSet
        The sets that the name has now.
    sources : mapping of str to Source
        Sources of the new sets, by split.
    advice : str
        Advice for the user, appended to the warning.
    """
    before: dict[str, set[str]] = {}
    for former in named:
        for file in former.features.manifest.source.files:
            before.setdefault(file.sha256, set()).add(former.split)
    moved = [
        (file.name, min(splits), split)
        for split, source in sources.items()
        for file in source.files
        if split not in (splits := before.get(file.sha256, {split}))
    ]
    if moved:
        first, old, new = moved[0]
        logger.warning(
            "%s %s in another split than in the current sets of the name %s; for example, %s moves from %s to %s%s",
            f"{len(moved):,}",
            "recording is" if len(moved) == 1 else "recordings are",
            name,
            first,
            old,
            new,
            advice,
        )
