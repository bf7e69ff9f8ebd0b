"""What a neuron is: its constants, and one pass over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from spikestore.train.neurons.surrogates import Surrogate


@dataclass(frozen=True)
class Neuron:
    """Parameters that all neurons of a layer share.

    Attributes
    ----------
    threshold : Tensor
        Float32, shape ().
    reset : float or None
        What a spike takes off the membrane potential; None for the threshold. For reset to zero what is added to
        all membrane potentials behind it: a number.
    to_zero : bool
        A spike sets the membrane potential to zero, and takes nothing off.
    minimum : Tensor or None
        Lower bound of the membrane potential, float32, shape ().
    single : bool
        At most one spike a step.
    surrogate : Surrogate
        Derivative of spikes.
    """

    threshold: Tensor
    reset: float | None
    to_zero: bool
    minimum: Tensor | None
    single: bool
    surrogate: Surrogate


class Pass(NamedTuple):
    """What a pass over time gives.

    Attributes
    ----------
    spikes : Tensor
        Shape (batch, time, neurons), the dtype of the input.
    v_mem : Tensor
        Membrane potentials after the last step, float32, shape (batch, neurons).
    v_record : Tensor or None
        Membrane potentials after every step's reset, float32, shaped like the spikes, detached.
    """

    spikes: Tensor
    v_mem: Tensor
    v_record: Tensor | None = None
