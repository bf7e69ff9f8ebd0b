"""Rows of ``benchmarks.iaf`` for a linear layer and its neurons: computed in one step, against computed in two steps.

Both sides have the same kernels for the neurons. ``SpikingSequential`` computes both layers in one step, ``nn.Sequential`` in two.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from benchmarks.form import Row, compare
from benchmarks.iaf.steps import Bench, bytes_kept, stepper
from benchmarks.networks import frames, seed_network


def joint_vs_apart(bench: Bench) -> Row:
    """Speed of forward and backward passes: each linear layer runs as one step with its neurons, against each layer on its own."""
    x = frames(bench.device, bench.batch)
    ours, apart = (stepper(network, x, best_of=1) for network in _networks(bench))
    row = Row(f"joint_vs_apart_{bench.device.type}")
    return compare(row, ours, apart, unit="samples/s", rounds=bench.rounds, turns=10)


def kept_vs_apart(bench: Bench) -> Row:
    """Bytes kept for the backward pass: linear layers joined with their neurons, against the same layers one by one. Both include parameters and frames."""
    row = Row("bytes_kept_joint_vs_apart", better="lower")
    x = frames(bench.device, bench.batch)
    ours, apart = (bytes_kept(network, x) for network in _networks(bench))
    row.ratios, row.ours, row.peer = [ours / apart], {"bytes": ours}, {"bytes": apart}
    return row


def _networks(bench: Bench) -> tuple[Any, Any]:
    """Return two networks with the same weights: the first runs a linear layer and its neurons as one step, the second runs the layers one by one."""
    from torch import nn

    joint, apart = (seed_network(bench.device, "fused") for _ in range(2))
    return joint, nn.Sequential(OrderedDict(apart.named_children()))
