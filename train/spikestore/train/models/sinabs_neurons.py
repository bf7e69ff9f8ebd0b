"""The neurons of the backends ``sinabs`` and ``exodus``. Their states are not among the buffers of a network.

Only `spikestore.train.models.backends` imports this module, after it has checked that Sinabs is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sinabs import layers
from torch import Tensor

from spikestore.train.neurons.state import MembraneState

__all__ = ["IAF", "SinabsState"]


class SinabsState(MembraneState):
    """Mixin for a layer of Sinabs whose only state is ``v_mem``. The mixin must be the first base class.

    Sinabs finds the states of a layer with ``named_buffers()`` and creates them with ``register_buffer()``. This mixin overrides
    both methods, so that Sinabs finds and creates ``v_mem``. The ``buffers()`` of a network that contains the layer do not include
    ``v_mem``.
    """

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Set the state if `name` is ``v_mem``; else register a buffer."""
        if name == "v_mem" and tensor is not None:
            self.v_mem = tensor
        else:
            super().register_buffer(name, tensor, persistent)

    def named_buffers(
        self, prefix: str = "", *arguments: Any, **options: Any
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the state, then other buffers; arguments as for `torch.nn.Module.named_buffers`."""
        yield f"{prefix}.v_mem" if prefix else "v_mem", self.v_mem
        yield from super().named_buffers(prefix, *arguments, **options)


class IAF(SinabsState, layers.IAF):  # type: ignore[misc]
    """``sinabs.layers.IAF`` whose state is not in the ``buffers()`` of a network; `MembraneState` says why."""
