"""Mixing of two samples: the region in which a sample takes the events of its partner, and the mixed labels.

A weighted sum of Gaussians gives each place (time bin, y and x) a density. The region is the places with the highest densities.

The exponentials are computed with additions, multiplications and divisions in a fixed order, so every device gets the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import multi_margin_loss, nll_loss, one_hot

from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.frames.augmentation_steps import GAUSSIANS, REGION
from spikestore.train.data.frames.draw_kernels import (
    FACTORS,
    HALVINGS,
    densities,
    draw_regions,
    find_shifts,
    mix_labels,
    shares_of_events,
)
from spikestore.train.data.frames.random_bits import is_on_cpu


def density(region: Tensor, bins: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the density of a mixture at places.

    Parameters
    ----------
    region : float64 Tensor, shape (places, 29)
        After an unused first column, for each of four Gaussians: weight, centre (time bin, y, x), and the inverse of twice the
        variance (time bins, y, x).
    bins, rows, columns : int64 Tensors, shape (places,)
        Time bin, y and x of each place.

    Returns
    -------
    float64 Tensor, shape (places,)
        Sum of weight · time · (y · x) over the Gaussians, where time, y and x are the values of the Gaussian along these
        axes. The relative error of a value along one axis is below 1e-7 within 10 standard deviations.
    """
    if is_on_cpu(region):
        out = np.empty(len(region))
        densities(region.numpy(), bins.numpy(), rows.numpy(), columns.numpy(), out)
        return torch.from_numpy(out)
    total = torch.zeros_like(region[:, 0])
    for first in range(1, 1 + 7 * GAUSSIANS, 7):
        weight, *parameters = region[:, first : first + 7].unbind(1)
        factors = []
        for at, centre, inverse in zip((bins, rows, columns), parameters[:3], parameters[3:], strict=True):
            distance = at.to(torch.float64) - centre
            factors.append(_exp_of_negative(distance * distance * inverse))
        time, y, x = factors
        total = total + weight * time * (y * x)
    return total


def regions(bits: Tensor, lengths: Tensor, height: int, width: int) -> Tensor:
    """Return regions drawn with random bits, as in `Mixture`; see `draw_regions` for the parameters."""
    out = np.empty((len(lengths), REGION))
    draw_regions(bits.numpy(), lengths.numpy(), height, width, out)
    return torch.from_numpy(out)


def shifts(centres: Tensor, partner: Tensor, stride: int) -> Tensor:
    """Return what `find_shifts` computes: int64, shape (batch, 3)."""
    out = np.empty((len(centres), 3), np.int64)
    find_shifts(centres.numpy(), partner.numpy(), stride, out)
    return torch.from_numpy(out)


def share_of_events(totals: Tensor) -> Tensor:
    """Return the weight of each sample's own label, for mixed samples: a / (a + b).

    A mixed sample has the sample's own events outside of a region, and its partner's events inside of the region. a is the share
    of the own events that are outside, and b is the share of the partner's events that are inside.

    Parameters
    ----------
    totals : float64 Tensor, shape (batch, 2, 2)
        Events of the sample and of its partner, outside and inside of the region.

    Returns
    -------
    float64 Tensor, shape (batch,)
        1 for a sample that has no events after the mixing.
    """
    if is_on_cpu(totals):
        out = np.empty(len(totals))
        shares_of_events(totals.numpy(), out)
        return torch.from_numpy(out)
    kept = torch.stack([totals[:, 0, 0], totals[:, 1, 1]]) / totals.sum(2).T.clamp(min=1)
    both = kept.sum(0)
    return torch.where(both > 0, kept[0] / torch.where(both > 0, both, 1), 1)


def soft_labels(labels: Tensor, classes: int) -> Tensor:
    """Return labels as weights of all classes: float32, shape (batch, classes). If `labels` are weights, return them unchanged."""
    if labels.is_floating_point():
        return labels
    soft: Tensor = torch.zeros(len(labels), classes, dtype=torch.float32, device=labels.device)
    soft.scatter_(1, labels[:, None], 1)
    return soft


_COMPARISONS = {"eq", "ne", "__eq__", "__ne__"}


def _are_class_numbers(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and value.dtype in (torch.int64, torch.int32)


class MixedLabels(Tensor):
    """Weights of all classes, as a tensor. Torch functions that need class numbers raise `UsageError`.

    These functions are `one_hot`, `nll_loss`, `multi_margin_loss`, and ``==`` or ``!=`` with an int64 or int32 tensor of at least one axis. All other functions
    behave as with a plain `Tensor`, and copies are plain tensors.
    """

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch; its results are plain tensors."""
        if func in (nll_loss, multi_margin_loss):
            raise UsageError(
                f"{func.__name__} needs class numbers, but CutMix or EventMix mixes the labels of this batch: "
                "use cross_entropy, or a loader without CutMix and EventMix"
            )
        if func is one_hot:
            raise UsageError(
                "one_hot needs class numbers, but the labels of this batch are weights of all classes already, because CutMix or EventMix "
                "mixes them: use the labels without one_hot"
            )
        # As many samples as classes would be compared, with a wrong result.
        if getattr(func, "__name__", "") in _COMPARISONS and any(
            map(_are_class_numbers, (*args, *(kwargs or {}).values()))
        ):
            raise UsageError(
                "class numbers cannot be compared with the labels of this batch, which are weights of all classes, because CutMix or EventMix "
                "mixes them: compare with labels.argmax(1)"
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def __deepcopy__(self, _memo: Any) -> Tensor:
        return self.as_subclass(Tensor).clone()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what is pickled: a plain tensor, which `torch.load` can read."""
        return self.as_subclass(Tensor).__reduce_ex__(protocol)


def mixed_labels(labels: Tensor, partner: Tensor, share: Tensor) -> MixedLabels:
    """Return soft labels: `share` times the label of each sample, plus (1 - `share`) times the label of its partner.

    A sample without a partner (-1) keeps its label.
    """
    if is_on_cpu(labels):
        out = np.empty(labels.shape, np.float32)
        mix_labels(labels.numpy(), partner.numpy(), share.numpy(), out)
        return torch.from_numpy(out).as_subclass(MixedLabels)
    weight: Tensor = torch.where(partner < 0, 1, share).to(torch.float32)[:, None]
    mixed = weight * labels + (1 - weight) * labels[partner.clamp(min=0)]
    return mixed.as_subclass(MixedLabels)


def _exp_of_negative(value: Tensor) -> Tensor:
    small = value / 2**HALVINGS
    power: Tensor = torch.full_like(small, FACTORS[-1])
    for factor in FACTORS[-2::-1]:
        power = power * small + factor
    power = power * small + 1.0
    for _ in range(HALVINGS):
        power = power * power
    return power
