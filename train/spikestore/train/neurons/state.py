"""Membrane potentials of a layer: its ``state_dict()`` contains them, but its ``buffers()`` does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn


class MembraneState(nn.Module):
    """Base class of layers that keep membrane potentials, whose first axis has the size of the last batch.

    The potentials are saved, loaded, copied and moved with the layer, like a buffer. They are not in ``buffers()`` of a network,
    because code that pairs the buffers of two networks (``AveragedModel``, ``DistributedDataParallel``) needs equal
    shapes.

    Attributes
    ----------
    v_mem : Tensor
        Membrane potentials, shape (batch, *neurons); before the first call (0,), unless the layer was created with a shape.
    """

    v_mem: Tensor

    def get_buffer(self, target: str) -> Tensor:
        """Return a buffer by its name; ``v_mem`` counts as a buffer, as in Sinabs' layers."""
        return self.v_mem if target == "v_mem" else super().get_buffer(target)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.v_mem = fn(self.v_mem)
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}v_mem"] = self.v_mem if keep_vars else self.v_mem.detach()

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: dict[str, Any], *more: Any
    ) -> None:
        # The shape of a state is that of the last batch: it must load into a layer whose state has another shape, or none yet.
        others = {name: value for name, value in state_dict.items() if name != f"{prefix}v_mem"}
        state = state_dict.get(f"{prefix}v_mem")
        if isinstance(state, Tensor):
            assign = local_metadata.get("assign_to_params_buffers", False)
            self.v_mem = state if assign else state.detach().to(self.v_mem, copy=True)
        super()._load_from_state_dict(others, prefix, local_metadata, *more)

    def __getstate__(self) -> dict[str, Any]:
        # A tensor inside a graph can be neither copied nor pickled.
        return {**self.__dict__, "v_mem": self.v_mem.detach()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if "v_mem" in self._buffers:  # pickled when the state was a buffer
            self.v_mem = self._buffers.pop("v_mem")  # type: ignore[assignment]
