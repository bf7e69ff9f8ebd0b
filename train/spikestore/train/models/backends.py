"""Backends of integrate-and-fire neurons: implementations of the same neurons with the same parameters."""

from __future__ import annotations

from collections import OrderedDict
from importlib import import_module
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from spikestore.store_schemas.errors import MissingExtraError, UnknownNameError, UsageError
from spikestore.train.neurons import (
    IAF,
    Gaussian,
    Heaviside,
    MultiGaussian,
    PeriodicExponential,
    SingleExponential,
    Surrogate,
)
from spikestore.train.neurons.sequential import SpikingSequential

Backend = Literal["fused", "sinabs", "exodus"]
"""``fused``: one compiled pass over time, on CPU and GPU; ``sinabs``: the reference; ``exodus``: Sinabs with CUDA."""

SpikeMode = Literal["multi", "single"]

ResetMode = Literal["subtract", "zero"]

SurrogateName = Literal[
    "single_exponential", "multi_gaussian", "periodic_exponential", "heaviside", "gaussian"
]

SURROGATES: dict[str, Any] = {
    "single_exponential": SingleExponential,
    "multi_gaussian": MultiGaussian,
    "periodic_exponential": PeriodicExponential,
    "heaviside": Heaviside,
    "gaussian": Gaussian,
}
"""Surrogates by their names in configurations."""

_EXODUS_DEVICES = ("cuda",)


def make_neurons(
    backend: Backend,
    threshold: float,
    minimum: float | None,
    spikes: SpikeMode,
    reset: ResetMode,
    surrogate: Surrogate,
) -> nn.Module:
    """Return a layer of neurons of a backend; for the parameters see `IAF`.

    Raises
    ------
    MissingExtraError
        The backend is not installed.
    UsageError
        A parameter is invalid (see `IAF`); or with these parameters, the results of the backend would differ from those of the other
        backends.
    """
    fused = IAF(threshold, spikes, reset, surrogate, minimum)  # checks parameters for all backends
    if backend == "fused":
        return fused
    if backend == "exodus" and minimum is not None:
        raise UsageError(
            "the backend 'exodus' applies min_v_mem before neurons spike, not after. This changes gradients and "
            "may change spikes: leave min_v_mem out, or use the backend 'fused'",
            field="min_v_mem",
        )
    if backend == "exodus" and reset != "subtract":
        raise UsageError(
            "the backend 'exodus' can only subtract a threshold for each spike: omit reset, or use the backend 'fused'",
            field="reset",
        )
    layers = _import(backend)
    activation = import_module("sinabs.activation")
    return layers.IAF(  # type: ignore[no-any-return]
        # Each layer gets its own threshold: Sinabs' default tensor is shared by all.
        spike_threshold=torch.tensor(threshold),
        spike_fn=activation.MultiSpike if spikes == "multi" else activation.SingleSpike,
        reset_fn=activation.MembraneSubtract() if reset == "subtract" else activation.MembraneReset(),
        surrogate_grad_fn=surrogate,
        min_v_mem=minimum,
    )


def known_backend(name: str | None) -> Backend | None:
    """Return `name`, which must be None or the name of a backend.

    Raises
    ------
    UnknownNameError
        No backend has that name.
    """
    if name is not None and name not in get_args(Backend):
        raise UnknownNameError(f"no backend {name!r}: use {', '.join(get_args(Backend))}")
    return cast("Backend | None", name)


def sequence_of(backend: Backend, layers: OrderedDict[str, nn.Module]) -> nn.Sequential:
    """Return a network of these layers; with ``fused``, linear layers run together with the neurons after them."""
    return SpikingSequential(layers) if backend == "fused" else nn.Sequential(layers)


def _import(backend: Backend) -> Any:
    try:
        if backend == "sinabs":
            import_module("sinabs.layers")
            return _sinabs_neurons()
        layers: Any = import_module("sinabs.exodus.layers")
    except ImportError as error:
        if backend == "sinabs":
            raise MissingExtraError(
                "the backend 'sinabs' needs Sinabs: pip install 'spikestore[train]', or use the backend 'fused'",
                extra="train",
            ) from error
        raise MissingExtraError(
            f"the backend 'exodus' is not installed ({error}): to build it, run `make exodus` or `python -m "
            "spikestore.train.models.build_exodus` (needs torch with CUDA, and nvcc); or use the backend 'fused'",
            extra="exodus",
        ) from error
    return _Guarded(layers)


def _sinabs_neurons() -> Any:
    return import_module("spikestore.train.models.sinabs_neurons")


class _Guarded:
    """Layers of EXODUS that check their input first: without this check, a tensor on the CPU crashes the process."""

    def __init__(self, layers: Any) -> None:
        class ExodusIAF(_sinabs_neurons().SinabsState, layers.IAF):  # type: ignore[misc]
            def forward(self, x: Tensor) -> Tensor:
                if torch.is_autocast_enabled(x.device.type):  # the layer before returns half precision
                    x = x.float()
                if x.device.type not in _EXODUS_DEVICES or x.dtype != torch.float32:
                    raise UsageError(
                        f"the input of the backend 'exodus' must be float32 on a GPU, got {x.dtype} on {x.device.type}: "
                        "use the backend 'fused'"
                    )
                if x.numel() == 0:  # a rank's share of a short batch; kernels can't run on empty input
                    self.v_mem = x.new_zeros(x.shape[0], *x.shape[2:])
                    return x
                return super().forward(x)  # type: ignore[no-any-return]

        ExodusIAF.__name__ = ExodusIAF.__qualname__ = "IAF"
        self.IAF = ExodusIAF
