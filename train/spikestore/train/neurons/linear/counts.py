"""Spike counts that layers hand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    from spikestore.train.neurons.gpu.passes import PackedSpikes


class Counts(NamedTuple):
    """A tensor of small integers.

    Attributes
    ----------
    packed : Tensor
        Uint8.
    density : float
        Share that is not 0.
    """

    packed: Tensor
    density: float


@dataclass
class Link:
    """What a layer of neurons takes from the linear layer in front of it, and leaves for the next one.

    Attributes
    ----------
    linear : nn.Linear
        The layer in front, which does not run by itself.
    counts : Counts, PackedSpikes (on a GPU) or None
        Its input; after the call the neurons' spikes. None if they are no small integers.
    """

    linear: nn.Linear
    counts: Counts | PackedSpikes | None
