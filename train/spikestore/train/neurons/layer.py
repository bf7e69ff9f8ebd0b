"""The layer of integrate-and-fire neurons."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spikestore.store_schemas.errors import UsageError
from spikestore.train.neurons.dynamics import integrate_and_fire
from spikestore.train.neurons.linear.counts import Link
from spikestore.train.neurons.linear.functions import linear_integrate_and_fire
from spikestore.train.neurons.neuron import Neuron
from spikestore.train.neurons.state import MembraneState
from spikestore.train.neurons.surrogates import SingleExponential, Surrogate

logger = logging.getLogger(__name__)


class IAF(MembraneState):
    """Layer of integrate-and-fire neurons that replaces ``sinabs.layers.IAF``: same spikes, parameters and states.

    Membrane potentials persist between calls until `reset_states`, and gradients flow back into earlier calls. If the shape of batch and neurons,
    or the device, changes between calls, all potentials start at 0. Sinabs instead takes randomly chosen rows of the old state.

    Parameters
    ----------
    spike_threshold : float or Tensor of shape ()
        Membrane potential from which a neuron spikes; above 0.
    spike_fn : {"multi", "single"}
        ``multi``: one spike in a step for each threshold that fits into the membrane potential; ``single``: at most one
        spike in a step. Sinabs' ``MultiSpike`` and ``SingleSpike`` are accepted too.
    reset_fn : {"subtract", "zero"}, float or None
        ``subtract`` or None: each spike subtracts the threshold from the membrane potential; a number: each spike subtracts
        this number; ``zero``: spikes set the potential to 0. Sinabs' ``MembraneSubtract`` and ``MembraneReset`` are accepted.
    surrogate_grad_fn : Surrogate
        Derivative of spikes w.r.t. the membrane potential: an object of `surrogates` or of Sinabs, or any callable with the same
        signature.
    min_v_mem : float or Tensor of shape (), optional
        Lower bound of membrane potentials, applied after the reset.
    shape : sequence of int, optional
        Shape of the first state, (batch, *neurons); by default, the shape of the first input without its time axis.
    record_states : bool
        Whether each call sets ``recordings["v_mem"]``: membrane potentials after each step's reset, detached.

    Attributes
    ----------
    v_mem : Tensor
        Membrane potentials, float32, shape (batch, *neurons); before the first call, zeros of the shape `shape`, or
        of the shape (0,) if `shape` was not given. Assign a tensor to ``v_mem`` to set the initial state. ``v_mem`` is in
        ``state_dict()`` and moves with the layer. It is not in ``buffers()``, because its shape depends on the batch, and
        ``AveragedModel`` and ``DistributedDataParallel`` need buffers of a constant shape. Loading a state dict without
        ``v_mem`` leaves the state unchanged.

    Raises
    ------
    UsageError
        A parameter is not as described above, or `spike_threshold` is below 1.18e-38, the smallest normal number of float32.
    """

    _warned = False

    def __init__(
        self,
        spike_threshold: float | Tensor = 1.0,
        spike_fn: Any = "multi",
        reset_fn: Any = None,
        surrogate_grad_fn: Surrogate = SingleExponential(),  # noqa: B008 frozen
        min_v_mem: float | Tensor | None = None,
        shape: Any = None,
        record_states: bool = False,
    ) -> None:
        super().__init__()
        minimum = None if min_v_mem is None else _scalar("min_v_mem", min_v_mem)  # in the order of Sinabs
        self.min_v_mem = None if minimum is None else nn.Parameter(minimum, requires_grad=False)
        self.spike_threshold = nn.Parameter(_scalar("spike_threshold", spike_threshold), requires_grad=False)
        if not float(self.spike_threshold) >= torch.finfo(torch.float32).tiny:
            raise UsageError(
                "spike_threshold must be above 0 (at least 1.18e-38, the smallest normal number of float32): "
                f"got {float(spike_threshold)}"
            )
        self.spike_fn, self.reset_fn = spike_fn, reset_fn
        self._single, (self._reset, self._to_zero) = _is_single(spike_fn), _reset_of(reset_fn)
        self.surrogate_grad_fn = surrogate_grad_fn
        self.record_states = record_states
        self.recordings: dict[str, Tensor] = {}
        self.v_mem = torch.zeros(0 if shape is None else tuple(shape))

    def forward(self, x: Tensor, link: Link | None = None) -> Tensor:
        """Return the spikes of the neurons: shape (batch, time, *neurons).

        Without `link`, `x` is the input of the neurons, and the spikes have its shape and dtype. With `link`, `x` is the input of
        the preceding linear layer, (batch, time, inputs); see `spikestore.train.neurons.linear`.

        Raises
        ------
        UsageError
            `x` has fewer than two axes, no kernel supports its dtype or device, or (on a CPU) the threshold was set to 0 or less.
        MissingExtraError
            `x` is on a GPU, and Triton is not installed.
        """
        if x.dim() < 2:
            raise UsageError(
                f"the input of IAF must have shape (batch, time, *neurons), got {tuple(x.shape)}"
            )
        if link is not None:
            self._fit((x.shape[0], link.linear.out_features), x.device)
            done = linear_integrate_and_fire(x, self.v_mem, self.neuron, link)
            self.v_mem, self.recordings = done.v_mem, {}
            return done.spikes
        shape = (x.shape[0], *x.shape[2:])
        self._fit(shape, x.device)
        neurons = x.shape[2:].numel()
        done = integrate_and_fire(
            x.reshape(*x.shape[:2], neurons),
            self.v_mem.reshape(x.shape[0], neurons),
            self.neuron,
            record=self.record_states,
        )
        # Not a view: users of Sinabs detach the state in place, which views do not allow.
        self.v_mem = done.v_mem if done.v_mem.shape == shape else done.v_mem.view(shape).clone()
        self.recordings = {} if done.v_record is None else {"v_mem": done.v_record.view(x.shape)}
        return done.spikes.view(x.shape)

    def _fit(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Prepare the membrane potentials for a call: float32 and usable by autograd. They are set to 0 if shape or device have changed."""
        if self.v_mem.shape != shape or self.v_mem.device != device:
            self.v_mem = torch.zeros(shape, device=device, dtype=torch.float32)
        elif self.v_mem.dtype != torch.float32:  # set by hand, or by `network.bfloat16()`
            self.v_mem = self.v_mem.float()
        elif self.v_mem.is_inference() and not torch.is_inference_mode_enabled():
            self.v_mem = self.v_mem.clone()

    @property
    def neuron(self) -> Neuron:
        """Copies of the neurons' parameters, so that a backward pass uses the values of its forward pass."""
        if self.spike_threshold.requires_grad and not self._warned:
            self._warned = True
            logger.warning(
                "spike_threshold gets no gradient, so it is not learned: use the backend 'sinabs' to learn it"
            )
        return Neuron(
            self.spike_threshold.detach().clone(),
            self._reset,
            self._to_zero,
            None if self.min_v_mem is None else self.min_v_mem.detach().clone(),
            self._single,
            self.surrogate_grad_fn,
        )

    @property
    def does_spike(self) -> bool:
        """Always True: the outputs of this layer are spikes. Sinabs' layers have the same attribute."""
        return True

    def reset_states(
        self, randomize: bool = False, value_ranges: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        """Set all membrane potentials to 0 and drop their gradients.

        Parameters
        ----------
        randomize : bool
            Draw the potentials uniformly between two bounds instead of setting them to 0.
        value_ranges : mapping of str to tuple of float, optional
            The bounds with the key ``"v_mem"``; (0, 1) by default.
        """
        self.v_mem = torch.zeros_like(self.v_mem)
        if randomize:
            self.v_mem.uniform_(*(value_ranges or {}).get("v_mem", (0.0, 1.0)))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, and detach the membrane potentials from the autograd graph."""
        super().zero_grad(set_to_none)
        self.v_mem = self.v_mem.detach()

    def extra_repr(self) -> str:
        """Return the main parameters for ``repr``."""
        text = f"spike_threshold={float(self.spike_threshold):g}, spike_fn={'single' if self._single else 'multi'}"
        if self._to_zero:
            text += ", reset_fn=zero"
        return text if self.min_v_mem is None else f"{text}, min_v_mem={float(self.min_v_mem):g}"


def _scalar(name: str, value: float | Tensor) -> Tensor:
    number = torch.as_tensor(value, dtype=torch.float32).detach().clone()
    if number.dim() != 0 or not torch.isfinite(number):
        raise UsageError(f"{name} must be one finite number for all neurons, got {value}")
    return number


def _is_single(spike_fn: Any) -> bool:
    name = spike_fn if isinstance(spike_fn, str) else getattr(spike_fn, "__name__", type(spike_fn).__name__)
    known = {"multi": False, "single": True, "MultiSpike": False, "SingleSpike": True}
    if name not in known:
        raise UsageError(f"spike_fn must be 'multi' or 'single', got {_shown(spike_fn, name)}")
    return known[name]


def _reset_of(reset_fn: Any) -> tuple[float | None, bool]:
    """Return the values for `Neuron.reset` and `Neuron.to_zero` that correspond to `reset_fn`, an argument of `IAF`."""
    name = reset_fn if isinstance(reset_fn, str) else type(reset_fn).__name__
    if reset_fn in (None, "subtract"):
        return None, False
    if reset_fn == "zero":
        return 0.0, True
    if isinstance(reset_fn, int | float) and math.isfinite(reset_fn):
        return float(reset_fn), False
    if hasattr(reset_fn, "reset_value") and name == "MembraneReset":
        return float(reset_fn.reset_value), True
    if hasattr(reset_fn, "subtract_value") and name == "MembraneSubtract":
        return _reset_of(reset_fn.subtract_value)
    raise UsageError(
        f"reset_fn must be 'subtract', 'zero' or an amount to subtract, got {_shown(reset_fn, name)}"
    )


def _shown(value: Any, name: str) -> str:
    return repr(value) if isinstance(value, str | float) else name
