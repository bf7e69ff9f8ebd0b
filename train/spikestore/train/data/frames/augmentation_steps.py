"""Augmentations as numbers (`AugmentationStep`), which `augmented_frames` and `applied_steps` apply.

The random bits of a sample come from `random_bits`. The random bits of a non-zero are computed from its index and from
the bits of its sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikestore.train.data.frames.random_bits import sample_bits

SHIFT, JITTER, DROP, MIRROR, THIN, MASK, MOVE, STRETCH, ROTATE, NOISE, ROLL, SHEAR, BOX = range(13)
MIX_MASK, MIX_BOX, MIX_REGION, MIX_EVENTS, MIX_ALIGNED = range(13, 18)
"""Kinds of steps, see `AugmentationStep`; the last five mix samples."""

GAUSSIANS, REGION = 4, 29
"""Maximum number of Gaussians of a density, and number of columns of a region: a threshold, and seven parameters per Gaussian."""

ANY_LENGTH = 2**62
"""Size of the time axis in a step: so large that ``index // stride % size`` is the time bin."""

ONE = 2**16
"""The whole number that stands for 1 in a factor, cosine or sine of a step: whole numbers give the same result on every device."""

MOST_MIXES = 3
"""Maximum number of mixing steps of a batch: each mixing step doubles the number of samples that are read for one sample."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Partners with which samples are mixed.

    Attributes
    ----------
    partner : int64 Tensor, shape (batch,)
        Position of each sample's partner in the batch; -1 for a sample that stays as it is.
    share : float64 Tensor, shape (batch,), optional
        Weight of each sample's own label in a mixed label. None if labels stay as they are. Also None with `region`, because
        the weight then depends on the events (`share_of_events`).
    region : float64 Tensor, shape (batch, 29), optional
        For each sample, the region in which non-zeros come from the partner: the places at which `mixtures.density` is above
        the first of the 29 numbers. The other numbers are the parameters of the density.
    shift : int64 Tensor, shape (batch, 3), optional
        How far ``MIX_ALIGNED`` moves each sample's own events along time, y and x. The shift along time is a number of time
        bins, multiplied by the number of sites; the shifts along y and x are in pixels. The events of the partner move equally
        far in the opposite direction.
    """

    partner: Tensor
    share: Tensor | None = None
    region: Tensor | None = None
    shift: Tensor | None = None


@dataclass(frozen=True, eq=False)
class AugmentationStep:
    """One step of an augmentation, as numbers for the samples of a batch.

    The coordinate along an axis is ``index // stride % size``. In steps that use both x and y, `size` is the number of places
    along x, and `height` the number of places along y. Where random bits are compared with a number, the bits are read as one
    whole number. For ``JITTER``, ``DROP`` and ``THIN``, the first row of `drawn` has the random bits of the sample. The kinds are:

    - ``SHIFT``: add `drawn` to the index; drop what leaves the sample.
    - ``JITTER``: move each non-zero along x by a whole number from -n to n, where n is in the second row of `drawn`;
      stop at the edge.
    - ``DROP``: drop a non-zero if the number that 53 random bits form is below the number in the second row of `drawn`.
    - ``THIN``: drop each event of a count if the number that 21 random bits form is below the number in the second row of `drawn`
      (`events_below`).
    - ``MIRROR``: replace the coordinate c by `drawn` - 1 - c; if `drawn` is 0, nothing changes.
    - ``MASK``: drop non-zeros whose coordinate is in the mask that `mask_of` made.
    - ``MOVE``: add `drawn` to the coordinate; drop what leaves the axis.
    - ``ROLL``: add `drawn`, from 0 to `size` - 1, to the coordinate; what leaves the axis enters at its other end.
    - ``BOX``: the two rows of `drawn` are masks; drop non-zeros whose x is in the first mask and whose y is in the
      second mask.
    - ``STRETCH``: multiply the time bin by `drawn` / 2^16, rounded down; drop what leaves the sample.
    - ``ROTATE``: rotate x and y around the centre; drop what leaves the sensor. The
      two rows of `drawn` are the cosine and the sine of the angle, times 2^16.
    - ``SHEAR``: move x by `drawn` / 2^16 times the distance of y from the centre; drop what leaves the sensor.
    - ``NOISE``: add as many events as the first row of `drawn` says; the random bits in the second row determine their places.

    A mixing step takes a part of each sample, and the other part from its partner:

    - ``MIX_MASK``: non-zeros come from the partner if their coordinate is in the mask that `mask_of` made.
    - ``MIX_BOX``: non-zeros whose x and y are in the masks, as for ``BOX``, come from the partner.
    - ``MIX_EVENTS``: 21 random bits of each event form a value. An event of the sample is dropped if its value is below `number`.
      An event of the partner is kept if its value is below `number`. The two rows of `drawn` are the random bits of the sample and
      of its partner.
    - ``MIX_ALIGNED``: as ``MIX_EVENTS``; then the events of the sample move by the `shift` of the mixture, and the events of the
      partner in the opposite direction. Drop what leaves the sample or the sensor.
    - ``MIX_REGION``: non-zeros at places of the mixture's `region` come from the partner. These are the places at which the density
      of Gaussians is above a threshold.

    Attributes
    ----------
    kind : int
        One of the kinds listed above.
    drawn : int64 Tensor, shape (batch,) or (2, batch)
        One or two numbers for each sample; `kind` determines their meaning.
    number : int
        Used by ``MIX_EVENTS`` and ``MIX_ALIGNED``, as described for ``MIX_EVENTS``.
    stride, size, height : int
        Stride and number of places of the axis; `height` is the number of places along y.
    mixture : Mixture, optional
        For mixing steps.
    """

    kind: int
    drawn: Tensor
    number: int = 0
    stride: int = 1
    size: int = 1
    height: int = 1
    mixture: Mixture | None = None

    def to(self, device: torch.device) -> AugmentationStep:
        """Return the step with its tensors on a device."""
        mixture = self.mixture
        if mixture is not None:
            share, region, shift = (
                None if one is None else one.to(device)
                for one in (mixture.share, mixture.region, mixture.shift)
            )
            mixture = Mixture(mixture.partner.to(device), share, region, shift)
        return replace(self, drawn=self.drawn.to(device), mixture=mixture)


def only_where(chosen: Tensor, step: AugmentationStep) -> AugmentationStep:
    """Return a step that changes only the chosen samples; `step` must not mix samples.

    Parameters
    ----------
    chosen : bool Tensor, shape (batch,)
        The samples to change.
    step : AugmentationStep
        The step for all samples.
    """
    unchanged = torch.zeros_like(step.drawn)
    if step.kind in (STRETCH, ROTATE):
        (unchanged if unchanged.ndim == 1 else unchanged[0]).fill_(ONE)
    return replace(step, drawn=torch.where(chosen, step.drawn, unchanged))


@dataclass(frozen=True, eq=False)
class StepInput:
    """Properties of a batch that augmentations use when they draw.

    Attributes
    ----------
    rows, lengths, labels : int64 Tensors on the host, shape (batch,)
        Rows in the feature set, time bins, class numbers.
    sites : tuple of int
        Sizes of the axes after time.
    epoch : int
        Epoch.
    centres : int64 Tensor, shape (batch, 3), optional
        For each sample, 2^16 times the mean time bin, the mean y and the mean x of its events, rounded down; -1 for
        samples without events.
    """

    rows: Tensor
    lengths: Tensor
    labels: Tensor
    sites: tuple[int, ...]
    epoch: int
    centres: Tensor | None = None

    def bits(self, seed: int, kind: int) -> Tensor:
        """Return 64 random bits for each sample; int64, shape (batch,). Each kind of draw passes another number as `kind`."""
        return sample_bits(self.rows, seed, self.epoch, kind)


class StepColumns(NamedTuple):
    """Steps as arrays, for a compiled loop.

    Attributes
    ----------
    numbers : int64 array, shape (steps, 4)
        The fields `kind`, `stride`, `size` and `height` of each step; for ``MIX_EVENTS`` and ``MIX_ALIGNED``, `number` instead of `stride`.
    drawn : int64 array, shape (2, steps, batch)
        The one or two rows of the field `drawn` of each step.
    partners : int64 array, shape (mixing steps, batch)
        Position in the batch of each sample's partner; see `Mixture`.
    regions : float64 array, shape (mixing steps, batch, 29), or (1, 1, 29) if no step has regions or shifts
        The field `region` of each mixture; with ``MIX_ALIGNED``, the first three of the 29 values are the field `shift` instead.
    totals : float64 array, shape (mixing steps, batch, 2, 2)
        Filled by the loop for ``MIX_REGION``: numbers of events of the sample and of its partner, outside and inside of the region.
    """

    numbers: npt.NDArray[np.int64]
    drawn: npt.NDArray[np.int64]
    partners: npt.NDArray[np.int64]
    regions: npt.NDArray[np.float64]
    totals: npt.NDArray[np.float64]


def columns_of_steps(steps: Sequence[AugmentationStep]) -> StepColumns:
    """Return steps as arrays. There must be at least one step, and tensors must be on the host."""
    numbers = [
        (one.kind, one.number if one.kind in (MIX_EVENTS, MIX_ALIGNED) else one.stride, one.size, one.height)
        for one in steps
    ]
    batch = steps[0].drawn.shape[-1]
    drawn = np.zeros((2, len(steps), batch), np.int64)
    for step, one in enumerate(steps):
        drawn[: one.drawn.ndim, step] = one.drawn.numpy()
    mixing = [one.mixture for one in steps if one.mixture is not None]
    partners = np.zeros((len(mixing), batch), np.int64)
    with_regions = any(one.region is not None or one.shift is not None for one in mixing)
    regions = np.zeros((len(mixing), batch, REGION) if with_regions else (1, 1, REGION))
    for mix, mixture in enumerate(mixing):
        partners[mix] = mixture.partner.numpy()
        if mixture.region is not None:
            regions[mix] = mixture.region.numpy()
        if mixture.shift is not None:
            regions[mix, :, :3] = mixture.shift.numpy()
    totals = np.zeros((len(mixing), batch, 2, 2))
    return StepColumns(np.array(numbers, np.int64), drawn, partners, regions, totals)
