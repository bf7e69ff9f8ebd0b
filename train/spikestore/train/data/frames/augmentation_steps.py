"""Augmentations as numbers (`AugmentationStep`): what the loops of `augmented_frames` and `applied_steps` apply.

The random numbers of a sample come from `random_bits`, those of a non-zero from the bits of the sample and the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from spikestore.train.data.frames.random_bits import sample_bits

SHIFT, JITTER, DROP, MIRROR, THIN, MASK, MOVE = range(7)
"""Kinds of steps, see `AugmentationStep`."""


@dataclass(frozen=True, eq=False)
class AugmentationStep:
    """One augmentation of a batch, as numbers.

    A coordinate of an axis is ``index // stride % size``. The kinds are:

    - ``SHIFT``: add `drawn` to the index; drop what leaves the sample.
    - ``JITTER``: move each non-zero along x, of `size` places, by a whole number from -`number` to `number`; stop at the edge.
    - ``DROP``: drop a non-zero if 53 of its random bits are below `number`.
    - ``THIN``: the same for each event of a count.
    - ``MIRROR``: mirror the coordinate within `drawn` places; 0 changes nothing.
    - ``MASK``: drop non-zeros with a coordinate in the mask that `mask_of` made.
    - ``MOVE``: add `drawn` to the coordinate; drop what leaves the axis.

    Attributes
    ----------
    kind : int
        One of the above.
    drawn : int64 Tensor, shape (batch,)
        What each sample drew; with ``JITTER``, ``DROP`` and ``THIN``, its random bits.
    number : int
        Strength of the kinds that draw for each non-zero.
    stride, size : int
        The axis.
    """

    kind: int
    drawn: Tensor
    number: int = 0
    stride: int = 1
    size: int = 1


@dataclass(frozen=True, eq=False)
class StepInput:
    """What augmentations know of a batch when they draw.

    Attributes
    ----------
    rows, lengths, labels : int64 Tensors, shape (batch,)
        Rows in the feature set, time bins, class numbers.
    sites : tuple of int
        Sizes of the axes after time.
    epoch : int
        Epoch.
    """

    rows: Tensor
    lengths: Tensor
    labels: Tensor
    sites: tuple[int, ...]
    epoch: int

    def bits(self, seed: int, kind: int) -> Tensor:
        """Return 64 random bits for each sample; int64, shape (batch,). Each `kind` of draw has a number of its own."""
        return sample_bits(self.rows, seed, self.epoch, kind)


def columns_of_steps(
    steps: Sequence[AugmentationStep],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (kind, number or stride, size) of steps, shape (steps, 3), and what samples drew, shape (steps, batch)."""
    per_event = (JITTER, DROP, THIN)
    numbers = [(one.kind, one.number if one.kind in per_event else one.stride, one.size) for one in steps]
    return np.array(numbers, np.int64), np.stack([one.drawn.numpy() for one in steps])
