"""The samples that the gallery shows: a typical sample of each class, the shortest sample, and the samples with the fewest and the most non-zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MOST_CLASSES = 40
"""Maximum number of classes of which a typical sample is shown."""


class ChosenRow(NamedTuple):
    """A row and the reasons why it is shown."""

    row: int
    reasons: tuple[str, ...]
    """One or more of ``typical``, ``shortest``, ``emptiest`` and ``fullest``."""


def chosen_rows(
    columns: Mapping[str, npt.NDArray[Any]], kept: npt.NDArray[np.bool_], *, typical: bool
) -> list[ChosenRow]:
    """Return the rows that the gallery shows. If several rows are equally suitable, the first of them is chosen.

    Parameters
    ----------
    columns : mapping of str to array, shape (rows,) each
        ``nnz``, ``n_bins`` and ``label``.
    kept : bool array, shape (rows,)
        False for the rows of skipped recordings.
    typical : bool
        Also choose a typical sample of each class, for at most `MOST_CLASSES` classes: the sample whose number of non-zeros is nearest
        to the median of the class.
    """
    rows = np.flatnonzero(kept)
    if not len(rows):
        return []
    nnz, n_bins, label = (columns[name][rows].astype(np.int64) for name in ("nnz", "n_bins", "label"))
    chosen = []
    if typical:
        for number in np.unique(label)[:MOST_CLASSES]:
            own = np.flatnonzero(label == number)
            nearest = own[np.argmin(np.abs(nnz[own] - np.median(nnz[own])))]
            chosen.append((int(rows[nearest]), "typical"))
    chosen += [
        (int(rows[np.argmin(n_bins)]), "shortest"),
        (int(rows[np.argmin(nnz)]), "emptiest"),
        (int(rows[np.argmax(nnz)]), "fullest"),
    ]
    reasons: dict[int, tuple[str, ...]] = {}
    for row, reason in chosen:
        reasons[row] = (*reasons.get(row, ()), reason)
    return [ChosenRow(*one) for one in reasons.items()]
