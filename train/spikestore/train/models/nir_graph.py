"""Export of networks to NIR (Neuromorphic Intermediate Representation), which Sinabs, Norse, snnTorch and chip tools read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from spikestore.store_schemas.errors import MissingExtraError, UsageError
from spikestore.store_schemas.wording import plural
from spikestore.train.models.folded import SumPool2d
from spikestore.train.neurons import IAF
from spikestore.train.neurons.neuron import Neuron

logger = logging.getLogger(__name__)

_Shape = tuple[int, ...]


def to_nir(network: nn.Sequential, frame_shape: Sequence[int] | None = None) -> Any:
    """Return the NIR graph of a network: its computation in one time bin, with copies of its parameters.

    `nir.write` writes the graph to a file; ``sinabs.from_nir`` turns the graph into a network of Sinabs' layers.

    Parameters
    ----------
    network : nn.Sequential
        A network of `build_network` or `load_network`, of any backend.
    frame_shape : sequence of int, optional
        Sizes of the frame axes after time: (polarity, [y,] x); by default ``network.frame_shape``, which `load_network` sets
        unless an early version of spikestore wrote the checkpoint.

    Returns
    -------
    nir.NIRGraph
        Graph from ``input``, with the shape of the frames, to ``output``, with the shape (classes,); the other nodes have the
        names of the layers. NIR's neurons have no lower bound of membrane potentials and no limit of one spike per bin, and
        a spike always subtracts the threshold. If neurons of the network have other properties, a warning names these properties.

    Raises
    ------
    UsageError
        `frame_shape` is missing or does not fit the network; or a layer has no node in NIR.
    MissingExtraError
        The package nir is not installed.
    """
    nir = _nir()
    shape = _frame_shape(network, frame_shape)
    nodes: dict[str, Any] = {"input": nir.Input(input_type=_sizes("input", shape))}
    lost: dict[str, None] = {}
    for name, layer in network.named_children():
        try:
            node, shape = _node(nir, layer, shape)
        except (ValueError, RuntimeError) as error:
            raise UsageError(f"the layer {name} has no node in NIR: {error}", layer=name) from error
        nodes[name] = node
        neuron = _neuron(layer)
        lost |= {} if neuron is None else dict.fromkeys(_beyond_nir(neuron))
    nodes["output"] = nir.Output(output_type=_sizes("output", shape))
    if lost:
        logger.warning(
            "neurons in NIR cannot have these properties, so the graph lacks them: %s. Programs that read the graph may produce other spikes",
            "; ".join(lost),
        )
    names = list(nodes)
    return nir.NIRGraph(nodes=nodes, edges=list(pairwise(names)))


def _nir() -> Any:
    try:
        return import_module("nir")
    except ImportError as error:
        raise MissingExtraError(
            "to_nir needs the package nir, which comes with Sinabs: pip install 'spikestore[train]', or pip install nir",
            extra="train",
        ) from error


def _frame_shape(network: nn.Sequential, given: Sequence[int] | None) -> _Shape:
    known = getattr(network, "frame_shape", None) if given is None else tuple(int(size) for size in given)
    if known is None:
        raise UsageError("the network has no frame_shape: pass frame_shape=(polarity, [y,] x)")
    first = next((layer for layer in network if isinstance(layer, nn.Linear | nn.Conv2d)), None)
    if isinstance(first, nn.Linear) and prod(known) != first.in_features:
        raise UsageError(
            f"frames of frame_shape {known} have {plural(prod(known), 'value')}, but the network takes {first.in_features}: pass the frame_shape of the network"
        )
    if isinstance(first, nn.Conv2d) and (len(known) != 3 or known[0] != first.in_channels):
        raise UsageError(
            f"frame_shape must be (polarity, y, x) with {first.in_channels} polarities, got {known}"
        )
    return tuple(known)


def _node(nir: Any, layer: nn.Module, shape: _Shape) -> tuple[Any, _Shape]:
    """Return a layer's node and the shape of its output in a time bin."""
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (2, -1):
        # A graph has no batch and time axes.
        node = nir.Flatten(input_type=_sizes("input", shape), start_dim=0, end_dim=-1)
        return node, (prod(shape),)
    if isinstance(layer, nn.Linear):
        return nir.Affine(weight=_array(layer.weight), bias=_bias(layer)), (layer.out_features,)
    if isinstance(layer, nn.Conv2d):
        node = nir.Conv2d(
            input_shape=shape[1:],
            weight=_array(layer.weight),
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=_bias(layer),
        )
        return node, tuple(int(size) for size in node.output_type["output"])
    if isinstance(layer, SumPool2d):
        kind = nir.AvgPool2d if layer.average else nir.SumPool2d
        side = np.array([layer.size, layer.size])
        node = kind(kernel_size=side, stride=side, padding=np.zeros_like(side))
        out = (shape[0], *(size // layer.size for size in shape[1:]))
        node.input_type, node.output_type = _sizes("input", shape), _sizes("output", out)
        return node, out
    neuron = _neuron(layer)
    if neuron is None:
        raise UsageError(f"it is a {type(layer).__name__}, which build_network never creates")
    ones = np.ones(shape, np.float32)
    return nir.IF(r=ones, v_threshold=ones * float(neuron.threshold)), shape


def _neuron(layer: nn.Module) -> Neuron | None:
    """Return the parameters of a layer's neurons, of this package or of Sinabs; None if the layer has no neurons."""
    if isinstance(layer, IAF):
        return layer.neuron
    if type(layer).__name__ != "IAF" or not hasattr(layer, "spike_threshold"):
        return None
    sinabs: Any = layer
    return IAF(
        sinabs.spike_threshold.detach(), sinabs.spike_fn, sinabs.reset_fn, min_v_mem=sinabs.min_v_mem
    ).neuron


def _beyond_nir(neuron: Neuron) -> list[str]:
    """Return the names of the properties of a neuron that NIR's neurons do not have."""
    subtracts = not neuron.to_zero and neuron.reset in (None, float(neuron.threshold))
    return [
        *(["min_v_mem"] if neuron.minimum is not None else []),
        *([] if subtracts else ["a reset to zero, or by a value other than the threshold"]),
        *(["a limit of one spike per time bin"] if neuron.single else []),
    ]


def _sizes(name: str, shape: _Shape) -> dict[str, npt.NDArray[np.int64]]:
    return {name: np.array(shape)}


def _array(values: Tensor) -> npt.NDArray[Any]:
    return values.detach().cpu().float().numpy().copy()


def _bias(layer: nn.Linear | nn.Conv2d) -> npt.NDArray[Any]:
    return np.zeros(len(layer.weight), np.float32) if layer.bias is None else _array(layer.bias)
