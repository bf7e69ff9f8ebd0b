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
    """A linear layer that is run by the layer of neurons after it, and the counts that layers pass on.

    Attributes
    ----------
    linear : nn.Linear
        The linear layer, which does not run separately.
    counts : Counts, PackedSpikes (on a GPU) or None
        Before the neurons are called, these are the counts of the linear layer's input. The call replaces them by the counts of
        the neurons' spikes. On a CPU, None means that not all numbers are whole numbers from 0 to 254. On a GPU, None
        means that the layer before the linear layer did not pass on counts; values are not checked on a GPU.
    """

    linear: nn.Linear
    counts: Counts | PackedSpikes | None
