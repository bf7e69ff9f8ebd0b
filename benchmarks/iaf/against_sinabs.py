"""Rows in the table of ``benchmarks.iaf`` that measure the time of the forward and the backward pass, most of them against Sinabs.

Sinabs is used as it is shipped, or with one line changed: `benchmarks.networks.unbound` says which line.
"""

from __future__ import annotations

from benchmarks.form import Row, compare
from benchmarks.iaf.steps import Bench, bytes_kept, stepper
from benchmarks.networks import conv_network, frames, seed_network


def _against(bench: Bench, row: Row, peer: str) -> Row:
    x = frames(bench.device, bench.batch)
    ours, theirs = (stepper(seed_network(bench.device, one), x) for one in ("fused", peer))
    return compare(row, ours, theirs, unit="samples/s", rounds=bench.rounds)


def fused_vs_sinabs(bench: Bench) -> Row:
    """Speed of the network of the blog post (docs/seed.md), relative to the same network with the unchanged layers of Sinabs."""
    return _against(bench, Row(f"fused_vs_sinabs_{bench.device.type}", 10, 13), "sinabs")


def fused_vs_unbind(bench: Bench) -> Row:
    """Speed of the same network, relative to Sinabs with one line changed (`unbound`)."""
    return _against(bench, Row(f"fused_vs_sinabs_unbind_{bench.device.type}", 3, 4), "unbind")


def floor(bench: Bench) -> Row:
    """Return the time of the linear layers alone as a share of the time of the whole network.

    A step of the layers and a step of the network alternate, so that other work of the machine slows down both.
    """
    x = frames(bench.device, bench.batch)
    ours, theirs = (stepper(seed_network(bench.device, one), x, best_of=1) for one in ("fused", "linear"))
    # On a GPU, single steps without a graph wait for launches: the share says little there.
    targets = () if bench.device.type == "cuda" else (0.65, 0.8)
    row = Row(f"linear_layers_alone_vs_fused_{bench.device.type}", *targets)
    return compare(row, ours, theirs, unit="samples/s", rounds=bench.rounds, turns=10)


def kept(bench: Bench) -> Row:
    """Bytes that the network keeps for the backward pass, parameters and frames included, against Sinabs."""
    row = Row("bytes_kept_for_backward_vs_sinabs", 1 / 3, better="lower")
    x = frames(bench.device, bench.batch)
    ours, peer = (bytes_kept(seed_network(bench.device, one), x) for one in ("fused", "sinabs"))
    row.ratios, row.ours, row.peer = [ours / peer], {"bytes": ours}, {"bytes": peer}
    return row


def conv_fused_vs_sinabs(bench: Bench) -> Row:
    """Speed of a convolutional network on frames of N-MNIST's shape, relative to unchanged Sinabs."""
    return _conv(bench, Row(f"conv_fused_vs_sinabs_{bench.device.type}", 3), "sinabs")


def conv_fused_vs_unbind(bench: Bench) -> Row:
    """A convolutional network on frames of N-MNIST's shape, against the changed Sinabs of `benchmarks.networks.unbound`."""
    return _conv(bench, Row(f"conv_fused_vs_sinabs_unbind_{bench.device.type}"), "unbind")


def _conv(bench: Bench, row: Row, peer: str) -> Row:
    import torch

    torch.manual_seed(1)
    x = (torch.rand(bench.conv_batch, bench.conv_steps, 2, 34, 34) < 0.03).float().to(bench.device)
    ours, theirs = (stepper(conv_network(bench.device, one), x) for one in ("fused", peer))
    return compare(row, ours, theirs, unit="samples/s", rounds=bench.rounds)
