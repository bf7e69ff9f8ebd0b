"""Monitors a network in training: counts spikes and locates values that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spikestore.store_schemas.errors import SpikestoreError
from spikestore.train.models.networks import forget_states, spiking_layers
from spikestore.train.neurons.sequential import watch_spikes
from spikestore.train.runs.ranks import ALONE, Ranks

NOWHERE = "the loss itself (all outputs are finite)"
"""Returned by `first_not_finite` for a network whose outputs are finite."""


ADVICE = "lower learning_rate or weight_decay, or set a smaller clip_norm, under [optimiser]"
"""What to do if numbers became infinite during training."""


class TrainingError(SpikestoreError):
    """Training can't continue, for example because the loss is not finite."""

    kind = "training"


class SpikeCounts:
    """Counts the spikes of each layer during training, on the device and without synchronisation.

    Parameters
    ----------
    network : nn.Module
        The network; its spikes are counted in training mode only.
    before : mapping of str to (float, float), optional
        Counts of an earlier run by name of layer, as `totals` returned them.
    ranks : Ranks
        Processes whose counts are summed; all of them must call `totals` and `rates`.
    """

    def __init__(
        self,
        network: nn.Module,
        before: Mapping[str, tuple[float, float]] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self._before = dict(before or {})
        self._ranks = ranks
        layers = spiking_layers(network)
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        self._names = list(layers)
        # Spikes, and neurons × bins, of each layer; updated in place, as a CUDA graph needs.
        self._counts = torch.zeros(len(layers), 2, dtype=torch.float64, device=device)
        for layer, counts in zip(layers.values(), self._counts, strict=True):
            watch_spikes(layer, self._counter(counts), on_device=True)

    def _counter(self, counts: Tensor) -> Callable[[nn.Module, Tensor], None]:
        spikes_counted, places_counted = counts

        def count(layer: nn.Module, spikes: Tensor) -> None:
            if layer.training:
                spikes_counted.add_(spikes.detach().sum(dtype=torch.float64))
                places_counted.add_(spikes.numel())

        return count

    def totals(self) -> dict[str, tuple[float, float]]:
        """Return two numbers for each layer, counted since `clear`: spikes, and outputs (one per neuron, time bin and sample)."""
        now = dict(zip(self._names, self._ranks.total(self._counts).tolist(), strict=True))
        zero = (0.0, 0.0)
        totals = {}
        for name in sorted(self._before.keys() | now.keys()):
            spikes, places = now.get(name, zero)
            before = self._before.get(name, zero)
            totals[name] = before[0] + spikes, before[1] + places
        return totals

    def rates(self) -> dict[str, float]:
        """Return spikes per neuron and time bin of each layer since `clear`."""
        return {name: spikes / max(places, 1.0) for name, (spikes, places) in self.totals().items()}

    def clear(self) -> None:
        """Set all counts to 0."""
        self._before = {}
        self._counts.zero_()


def silent_layers(rates: dict[str, float]) -> list[str]:
    """Return the names of layers without a single spike."""
    return [name for name, rate in rates.items() if rate == 0]


def refuse_not_finite(network: nn.Module, optimiser: torch.optim.Optimizer, epoch: int, number: int) -> None:
    """Raise an error if a weight, or a number that the optimiser keeps for it, is not finite. A checkpoint with such numbers is unusable.

    Parameters
    ----------
    network, optimiser
        The network and its optimiser.
    epoch, number : int
        Epoch, counted from 0, and number of its last batch so far, counted from 1; for the message.

    Raises
    ------
    TrainingError
        The message names the first parameter with such a number.
    """
    for name, parameter in network.named_parameters():
        kept = [value for value in optimiser.state.get(parameter, {}).values() if isinstance(value, Tensor)]
        if not all(bool(torch.isfinite(value).all()) for value in (parameter, *kept)):
            first = f"the parameter {name}, or what the optimiser keeps for it,"
            raise TrainingError(
                f"after batch {number} in epoch {epoch + 1}, {first} is not finite: {ADVICE}",
                epoch=epoch + 1,
                batch=number,
                first=first,
            )


def first_not_finite(network: nn.Module, frames: Tensor) -> str:
    """Return a text that names the first parameter that is not finite; or else the first layer whose output is not finite; or else `NOWHERE`."""
    for name, parameter in network.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the parameter {name}"
    layers: list[str] = []

    def look(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            if not torch.isfinite(output).all():
                layers.append(name)

        return hook

    with _hooks({layer: look(name) for name, layer in network.named_modules() if name}), torch.no_grad():
        forget_states(network)
        network(frames)
    return f"the output of layer {layers[0]}" if layers else NOWHERE


@contextmanager
def _hooks(hooks: dict[nn.Module, Any]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook) for layer, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
