"""Mixed precision: linear and convolutional layers compute in half precision, neurons in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from spikestore.store_schemas.errors import UsageError

Precision = Literal["float32", "bfloat16", "float16"]
"""Dtype in which linear layers and convolutions compute. Parameters, neurons, loss and optimiser are always float32."""

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Arithmetic:
    """Runs forward and backward passes in a given precision.

    In ``float16``, small gradients become 0. So with ``float16``, the loss is scaled up for the backward pass, and the
    gradients are scaled down afterwards. If gradients are not finite, the step
    is skipped, and the scale is lowered (Micikevicius et al., 2018, Mixed Precision Training).

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16"}
        Dtype of linear layers and convolutions.
    device : torch.device
        Device of the layers.

    Raises
    ------
    UsageError
        No precision has that name, or the device has no half precision.
    """

    def __init__(self, precision: Precision = "float32", device: torch.device | str = "cpu") -> None:
        if precision not in get_args(Precision):
            raise UsageError(f"precision must be float32, bfloat16 or float16, got {precision!r}")
        self.precision = precision
        self._kind = torch.device(device).type
        self._dtype = _DTYPES.get(precision)
        if self._dtype is not None and not torch.amp.is_autocast_available(self._kind):
            raise UsageError(f"precision {precision} is not available on {self._kind}: use float32")
        self._scaler = torch.amp.GradScaler(self._kind, enabled=precision == "float16")

    def cast(self) -> AbstractContextManager[Any]:
        """Return a context in which layers compute in this precision."""
        if self._dtype is None:  # a caller's autocast stays in effect
            return nullcontext()
        return torch.autocast(self._kind, self._dtype)

    @property
    def scales(self) -> bool:
        """Whether losses are scaled. If losses are scaled, steps whose gradients overflow are skipped."""
        return self._scaler.is_enabled()

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss; the gradients stay scaled until `step`."""
        self._scaler.scale(loss).backward()

    def step(self, optimiser: torch.optim.Optimizer, network: nn.Module, clip_norm: float | None) -> None:
        """Clip the gradients and take an optimiser step; skip the step if gradients overflowed."""
        self._scaler.unscale_(optimiser)
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        self._scaler.step(optimiser)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """Return the state of the loss scale for a checkpoint; empty if nothing is scaled."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue with the loss scale that a checkpoint contains."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)
