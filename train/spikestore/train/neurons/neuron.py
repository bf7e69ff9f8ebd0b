"""Parameters of neurons, and the result of a forward pass over time."""

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
        If `to_zero` is false: number that a spike subtracts from the membrane potential; None means the threshold. If `to_zero`
        is true: Sinabs' ``reset_value``, usually 0. In each step, the potentials of the neurons that spiked are set to zero. Then
        ``reset`` is added to the potentials of all neurons, as in Sinabs.
    to_zero : bool
        Whether a spike sets the membrane potential to zero instead of subtracting.
    minimum : Tensor or None
        Lower bound of the membrane potential, float32, shape ().
    single : bool
        Whether a neuron spikes at most once in a step.
    surrogate : Surrogate
        Derivative of spikes w.r.t. the membrane potential.
    """

    threshold: Tensor
    reset: float | None
    to_zero: bool
    minimum: Tensor | None
    single: bool
    surrogate: Surrogate


class NeuronOutput(NamedTuple):
    """Result of a forward pass over time.

    Attributes
    ----------
    spikes : Tensor
        Shape (batch, time, neurons), with the dtype of the input.
    v_mem : Tensor
        Membrane potentials after the last step, float32, shape (batch, neurons).
    v_record : Tensor or None
        Membrane potentials after every step's reset, float32, shaped like the spikes, detached.
    """

    spikes: Tensor
    v_mem: Tensor
    v_record: Tensor | None = None
