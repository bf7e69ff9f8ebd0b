"""Tables of a report: numbers of samples by class and by group in each split, skipped recordings, and equal samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikestore.pipeline.reporting.facts.set_facts import SetFacts
from spikestore.store_schemas.specs.column_values import kind_of

GROUPS = ("speaker", "user")
"""Columns that say which samples belong together, such as all samples of one speaker; without them, the first column with whole numbers or texts is taken, if the data set is ``folder``."""

MOST_LISTED = 200


def classes_by_split(splits: Mapping[str, SetFacts]) -> list[dict[str, Any]]:
    """Return the number of samples of each class in each split."""
    rows = []
    for split, facts in splits.items():
        label = facts.columns["label"][facts.kept]
        counts = np.bincount(label, minlength=len(facts.features.classes))
        rows += [
            {"class": name, "split": split, "samples": count}
            for name, count in zip(facts.features.classes, counts.tolist(), strict=True)
        ]
    return rows


def groups_by_split(splits: Mapping[str, SetFacts]) -> dict[str, Any] | None:
    """Return how the groups (the speakers, the users, or the values of another column) are divided between the splits. None if the sets share no such column.

    Returns
    -------
    dict or None
        ``column``; ``groups``: number of groups in each split; ``shared``: number of groups in more than one split;
        ``samples``: for each of the largest groups (at most `MOST_LISTED`), its number of samples in each split.
    """
    of_sources = [facts.features.manifest.source_columns for facts in splits.values()]
    columns = (
        *GROUPS,
        *(name for one in of_sources for name, values in one.items() if kind_of(values) != "real"),
    )
    name = next((name for name in columns if all(name in facts.columns for facts in splits.values())), None)
    if name is None:
        return None
    counts: dict[Any, dict[str, int]] = {}  # numbers or texts
    for split, facts in splits.items():
        groups, samples = np.unique(facts.columns[name][facts.kept], return_counts=True)
        for group, number in zip(groups.tolist(), samples.tolist(), strict=True):
            counts.setdefault(group, {})[split] = number
    shared = [group for group, found in counts.items() if len(found) > 1]

    def order(group: Any) -> tuple[Any, ...]:
        return -sum(counts[group].values()), isinstance(group, str), group

    largest = sorted(counts, key=order)[:MOST_LISTED]
    return {
        "column": name,
        "groups": {split: sum(split in found for found in counts.values()) for split in splits},
        "shared": len(shared),
        "samples": [
            {"group": group, "split": split, "samples": counts[group].get(split, 0)}
            for group in largest
            for split in splits
        ],
    }


def skipped_recordings(splits: Mapping[str, SetFacts]) -> dict[str, Any]:
    """Return the number of skipped recordings, and the first skipped recordings with their reasons."""
    rows = [
        {"split": split, "row": row.row, "reason": row.reason}
        for split, facts in splits.items()
        for row in facts.features.manifest.skipped
    ]
    return {"count": len(rows), "listed": rows[:MOST_LISTED]}


def duplicates(splits: Mapping[str, SetFacts]) -> dict[str, Any]:
    """Return samples whose frames are equal; empty samples are not compared.

    Returns
    -------
    dict
        ``across``: for each pair of splits, the number of samples of the second split that the first split has too; ``within``: for each split, the
        number of samples that equal an earlier one; ``other_class``: number of groups of equal samples with several classes; ``groups``:
        number of groups of equal samples; ``listed``: at most `MOST_LISTED` groups, first those with samples of several splits; a group is a
        list with the ``split``, the ``row`` and the ``class`` of each sample.
    """
    members: dict[int, list[tuple[str, int, int]]] = {}
    for split, facts in splits.items():
        rows = np.flatnonzero(facts.kept & (facts.columns["nnz"] > 0))
        label = facts.columns["label"]
        for row, content in zip(rows.tolist(), facts.hashes[rows].tolist(), strict=True):
            members.setdefault(content, []).append((split, row, int(label[row])))
    groups = [group for group in members.values() if len(group) > 1]
    names = [*splits]
    classes = next(iter(splits.values())).features.classes
    in_splits = [[split for split, _, _ in group] for group in groups]
    return {
        "across": [
            {
                "first": first,
                "second": second,
                "samples": sum(found.count(second) for found in in_splits if first in found),
            }
            for position, first in enumerate(names)
            for second in names[position + 1 :]
        ],
        "within": {split: sum(max(found.count(split) - 1, 0) for found in in_splits) for split in names},
        "other_class": sum(len({label for _, _, label in group}) > 1 for group in groups),
        "groups": len(groups),
        "listed": [
            [{"split": split, "row": row, "class": classes[label]} for split, row, label in group]
            for group in sorted(groups, key=lambda group: len({split for split, _, _ in group}) == 1)[
                :MOST_LISTED
            ]
        ],
    }
