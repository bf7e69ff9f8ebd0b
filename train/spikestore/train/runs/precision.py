"""Mixed precision: linear and convolutional layers in half precision, membrane potentials in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikestore.store_schemas.errors import UsageError

Precision = Literal["float32", "bfloat16", "float16"]
"""What linear layers and convolutions compute in. Parameters, neurons, loss and optimiser are float32 always."""

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Arithmetic:
    """Runs forward and backward passes in a precision.

    Half of the exponents of float16 are missing: small gradients would be 0. So the loss is scaled up for the
    backward pass and gradients down again; a step whose gradients are not finite is left out, and the scale lowered
    (Micikevicius et al., 2018, Mixed Precision Training).

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16"}
        Of linear layers and convolutions.
    device : torch.device
        Where they run.

    Raises
    ------
    UsageError
        The device has no half precision.
    """

    def __init__(self, precision: Precision = "float32", device: torch.device | str = "cpu") -> None:
        self.precision = precision
        self._kind = torch.device(device).type
        self._dtype = _DTYPES.get(precision)
        if self._dtype is not None and not torch.amp.is_autocast_available(self._kind):
            raise UsageError(f"precision {precision} does not work on {self._kind}: take float32")
        self._scaler = torch.amp.GradScaler(self._kind, enabled=precision == "float16")

    def cast(self) -> AbstractContextManager[Any]:
        """Return a context in which layers compute in this precision."""
        if self._dtype is None:  # what a caller has set stays
            return nullcontext()
        return torch.autocast(self._kind, self._dtype)

    @property
    def scales(self) -> bool:
        """Whether losses are scaled, and steps whose gradients overflow left out."""
        return self._scaler.is_enabled()

    def backward(self, loss: Tensor) -> None:
        """Compute gradients; they are scaled until `step`."""
        self._scaler.scale(loss).backward()

    def step(self, optimiser: torch.optim.Optimizer, network: nn.Module, clip_norm: float | None) -> None:
        """Take a step along the gradients, whose norm is bounded before; unless they overflowed."""
        self._scaler.unscale_(optimiser)
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        self._scaler.step(optimiser)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """Return the scale of losses, for a checkpoint; empty where nothing is scaled."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with the scale of a checkpoint."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)
