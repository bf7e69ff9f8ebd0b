"""A sequence of layers that runs linear layers together with the neurons behind them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.utils.hooks import RemovableHandle

from spikestore.train.neurons.layer import IAF
from spikestore.train.neurons.linear.counts import Link
from spikestore.train.neurons.linear.functions import linear_of_counts, pack


class SpikingSequential(nn.Sequential):
    """``nn.Sequential``, the same results, parameters and hooks; it keeps less, and trains faster on a CPU.

    Where `IAF` stands behind ``nn.Linear``, both run as one step; spikes are kept as bytes for the backward pass.
    Layers that have hooks, or a ``forward`` that somebody put in place of theirs, run by themselves; those of
    `watch_spikes` excepted.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the output of the last layer."""
        x, counts, layers = input, None, list(self)
        taken = False
        for layer, following in zip_longest(layers, layers[1:]):
            if taken:
                taken = False
                continue
            if not isinstance(layer, nn.Linear) or not _packs(layer, x):
                x, counts = layer(x), None
            elif type(following) is IAF and _is_plain(following) and not following.record_states:
                link = Link(layer, pack(x) if counts is None else counts)
                x, counts, taken = following(x, link), link.counts, True
            elif counts is not None:
                x, counts = linear_of_counts(x, layer, counts), None
            else:
                x = layer(x)
        return x


def watch_spikes(
    layer: nn.Module, watch: Callable[[nn.Module, Tensor], object], *, on_device: bool = False
) -> RemovableHandle:
    """Have each call of a layer's neurons told, with their spikes.

    A forward hook would be handed their input as well, for which the linear layer in front has to run by itself.

    Parameters
    ----------
    layer : nn.Module
        Neurons of any backend.
    watch : callable
        Gets the layer and its spikes, which it must not change; what it returns does not count.
    on_device : bool
        `watch` only changes tensors in place, that stay the same, by operations on the device: a CUDA graph may
        replay them without a call. Steps of a network with another watcher are not replayed.

    Returns
    -------
    RemovableHandle
        Its ``remove()`` ends that.
    """
    return layer.register_forward_hook(_Watch(watch, on_device=on_device))


class _Watch:
    def __init__(self, watch: Callable[[nn.Module, Tensor], object], *, on_device: bool) -> None:
        self._watch, self.on_device = watch, on_device

    def __call__(self, layer: nn.Module, _inputs: object, spikes: Tensor) -> None:
        self._watch(layer, spikes)


def is_replayable(layer: nn.Module) -> bool:
    """Whether calling a layer runs its class' code and, in Python, nothing else that is more than work for the device."""
    watches = [hook for hook in layer._forward_hooks.values() if isinstance(hook, _Watch)]
    return _is_plain(layer) and all(watch.on_device for watch in watches)


def _packs(layer: nn.Linear, x: Tensor) -> bool:
    """Whether a layer is a plain linear one, and its input of a kind that the kernels know, and to be learned from."""
    return (
        type(layer) is nn.Linear
        and layer.weight.numel() > 0
        and x.device.type in ("cpu", "cuda")
        and x.dtype == layer.weight.dtype == torch.float32
        and x.dim() == 3
        and torch.is_grad_enabled()
        and (x.requires_grad or layer.weight.requires_grad)
        and not torch.is_autocast_enabled(x.device.type)
        and _is_plain(layer)
    )


def _is_plain(layer: nn.Module) -> bool:
    """Whether calling a layer runs its class' code, and nothing else."""
    # Private names of torch; `nn.Module.__call__` asks the same question with them.
    own = (
        [hook for hook in layer._forward_hooks.values() if not isinstance(hook, _Watch)],
        layer._forward_pre_hooks,
        layer._backward_hooks,
        layer._backward_pre_hooks,
    )
    shared = (
        torch_modules._global_forward_hooks,
        torch_modules._global_forward_pre_hooks,
        torch_modules._global_backward_hooks,
        torch_modules._global_backward_pre_hooks,
    )
    return not any(own) and not any(shared) and "forward" not in vars(layer)
