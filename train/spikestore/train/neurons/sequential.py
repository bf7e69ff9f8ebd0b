"""A sequence of layers that runs each linear layer together with the neurons after it."""

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
    """``nn.Sequential`` that trains faster on a CPU, in less memory, with the same results, parameters and hooks.

    If `IAF` follows ``nn.Linear``, the two layers run as one step, and spikes are stored as bytes for the backward
    pass. They run separately in any of these cases: no gradients are needed, the input has half precision, a layer has hooks (except
    those of `watch_spikes`) or a replaced ``forward``, or the neurons record their states.
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
    """Call a function with the spikes of a layer after each call of the layer.

    Use this function instead of a forward hook. A forward hook also gets the input of the neurons, and this input does not
    exist while a linear layer and its neurons run as one step. So with a hook, the two layers run separately.

    Parameters
    ----------
    layer : nn.Module
        Neurons of any backend.
    watch : callable
        Called with the layer and its spikes. The callable must not change the spikes; its result is ignored.
    on_device : bool
        True: a CUDA graph can replay `watch`. Then `watch` may only change tensors on the device, in place. Each call
        must change the same tensors, and must not change the spikes. False: steps of the network are not replayed.

    Returns
    -------
    RemovableHandle
        A handle whose ``remove()`` ends the calls.
    """
    return layer.register_forward_hook(_Watch(watch, on_device=on_device))


class _Watch:
    def __init__(self, watch: Callable[[nn.Module, Tensor], object], *, on_device: bool) -> None:
        self._watch, self.on_device = watch, on_device

    def __call__(self, layer: nn.Module, _inputs: object, spikes: Tensor) -> None:
        self._watch(layer, spikes)


def is_replayable(layer: nn.Module) -> bool:
    """Return whether a CUDA graph can replay a layer.

    A layer with a replaced ``forward`` or with hooks can't be replayed; only the hooks of `watch_spikes` with ``on_device=True`` are allowed.
    """
    watches = [hook for hook in layer._forward_hooks.values() if isinstance(hook, _Watch)]
    return _is_plain(layer) and all(watch.on_device for watch in watches)


def _packs(layer: nn.Linear, x: Tensor) -> bool:
    """Return whether functions of this package compute a linear layer instead of its own ``forward``.

    They do if the layer is an ``nn.Linear`` with weights and without hooks, its input is float32 of shape (batch, time, inputs) on a
    CPU or a CUDA GPU, gradients are needed, and autocast is off.
    """
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
    """Return whether a call of a layer runs only the code of its class: no replaced ``forward``, and no hooks except those of `watch_spikes`."""
    # Private names of torch; `nn.Module.__call__` makes the same check.
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
