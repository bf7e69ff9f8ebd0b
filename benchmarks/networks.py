"""The networks that benchmarks time: the network of the blog post in docs/seed.md, and a convolutional network. Both run on our backends and on peers."""

from __future__ import annotations

from typing import Any

CLASSES, INPUTS, STEPS = 35, 100, 250
DENSITY, MEAN_COUNT = 0.2, 3.0
"""Share of the places of frames that are not 0, and the mean of their values: as in SSC's frames of 4 ms."""
NMNIST = {"polarities": 2, "height": 34, "width": 34}


def frames(device: Any, samples: int) -> Any:
    """Return frames of counts, (samples, time, polarity, x)."""
    import torch

    torch.manual_seed(1)
    shape = (samples, STEPS, 1, INPUTS)
    some = torch.rand(shape) < DENSITY
    # Geometric counts: few are large.
    counts = 1 + torch.empty(shape).geometric_(1 / MEAN_COUNT).sub_(1)
    return (some * counts).to(device)


def seed_network(device: Any, backend: str) -> Any:
    """Return the network of the blog post in docs/seed.md.

    The backend "unbind" is Sinabs with one line changed (see `unbound`); with "linear", the network has no neurons.
    """
    import torch
    from torch import nn

    from spikestore.train import NetworkSpec, build_network

    torch.manual_seed(0)
    known = backend if backend in ("fused", "sinabs", "exodus") else "sinabs"
    network = build_network(NetworkSpec(backend=known), sites=INPUTS, classes=CLASSES)  # type: ignore[arg-type]
    return _varied(network, backend, nn).to(device)


def conv_network(device: Any, backend: str) -> Any:
    """Return a convolutional network for N-MNIST."""
    import torch
    from torch import nn

    from spikestore.train import ConvolutionSpec, NetworkSpec, build_network

    torch.manual_seed(0)
    spec = NetworkSpec(
        backend="fused" if backend == "fused" else "sinabs",
        convolutions=(
            ConvolutionSpec(channels=8, kernel=3, pool="sum"),
            ConvolutionSpec(channels=16, kernel=3, pool="sum"),
        ),
        hidden=(64,),
        input_scale=2.0,
    )
    network = build_network(spec, sites=2 * 34 * 34, classes=10, **NMNIST)
    return _varied(network, backend, nn).to(device)


def _varied(network: Any, backend: str, nn: Any) -> Any:
    for name, layer in list(network.named_children()):
        if name.startswith("iaf") and backend == "unbind":
            setattr(network, name, unbound(layer))
        elif name.startswith("iaf") and backend == "linear":
            setattr(network, name, nn.Identity())
    return network


def unbound(layer: Any) -> Any:
    """Return Sinabs' layer with one change: its loop takes steps from ``x.unbind(1)`` instead of ``x[:, t]``.

    The backward pass of ``x[:, t]`` makes a gradient of the whole tensor for each step. The backward pass of `unbind` makes one
    gradient for all steps.
    """
    import torch
    from sinabs.layers import IAF
    from sinabs.layers.functional.lif import lif_forward_single

    class Unbound(IAF):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            if not self.is_state_initialised() or not self.state_has_shape((x.shape[0], *x.shape[2:])):
                self.init_state_with_shape((x.shape[0], *x.shape[2:]))
            state, spikes = dict(self.named_buffers()), []
            for step in x.unbind(1):
                fired, state = lif_forward_single(
                    step, self.alpha_mem_calculated, None, state, self.spike_threshold, self.spike_fn,
                    self.reset_fn, self.surrogate_grad_fn, self.min_v_mem, False,
                )  # fmt: skip
                spikes.append(fired)
            self.v_mem = state["v_mem"]
            return torch.stack(spikes, 1)

    return Unbound(spike_threshold=layer.spike_threshold.detach(), surrogate_grad_fn=layer.surrogate_grad_fn)
