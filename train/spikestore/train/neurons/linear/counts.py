"""Spike counts that one layer passes to the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    from spikestore.train.neurons.gpu.passes import PackedSpikes


class Counts(NamedTuple):
    """Spike counts as a tensor of bytes.

    Attributes
    ----------
    packed : Tensor
        The counts, uint8.
    density : float
        Share of counts that are not 0.
    """

    packed: Tensor
    density: float


@dataclass
class Link:
    """The linear layer before a layer of neurons, and the counts passed between them.

    Attributes
    ----------
    linear : nn.Linear
        The linear layer, which does not run separately.
    counts : Counts, PackedSpikes (on a GPU) or None
        Before the neurons are called: input of the linear layer. After it: spikes of the neurons. None if the values are not small
        integers.
    """

    linear: nn.Linear
    counts: Counts | PackedSpikes | None
