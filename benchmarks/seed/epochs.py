"""Time of one epoch of the training loop in the blog post in docs/seed.md."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """Time of one epoch, in seconds; scaled up if only a part was run."""

    seconds: float
    waiting: float
    """Part of `seconds` in which the loop waited for batches. On a GPU this number means little, because copies may
    still be in progress, and the host does not wait for the device."""


def run_epoch(network: Any, batches: Iterator[Any], count: int, whole: int, *, at_once: int) -> Epoch:
    """Run `count` batches, and return the time of an epoch of `whole` batches, scaled up if `count` is smaller.

    Parameters
    ----------
    network : nn.Module
        The network; all its parameters are on one device.
    batches : iterator
        Yields `count` batches of (frames, labels).
    count, whole : int
        Number of batches to run, and number of batches of a whole epoch.
    at_once : int
        Number of batches that workers make at the same time; see `scaled_up`.
    """
    device = next(network.parameters()).device
    early, waited = (0.0, 0.0), 0.0
    began = _now(device)
    for number in range(1, count + 2):
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        step(network, *batch)
        if number == at_once and count < whole:
            early = _now(device) - began, waited
    seconds = _now(device) - began
    if number != count + 1:
        raise ValueError(f"{number - 1} batches came, not {count}")
    return Epoch(
        *(
            scaled_up(first, total, count, whole, at_once=at_once)
            for first, total in zip(early, (seconds, waited), strict=True)
        )
    )


def scaled_up(early: float, total: float, count: int, whole: int, *, at_once: int) -> float:
    """Return the estimated time of `whole` batches, in seconds.

    `early` is the time of the first `at_once` batches, and `total` the time of the first `count` batches.

    The result is `early`, plus the mean time of a later batch multiplied by the number of remaining batches, `whole` - `at_once`.
    `early` is added once, because all workers make their first batch at the same time.

    Examples
    --------
    Two workers that take 2 s for a batch each, and a network that takes no time:

    >>> scaled_up(2.0, 4.0, 4, 16, at_once=2)
    16.0
    >>> scaled_up(2.0, 4.0, 4, 4, at_once=2)
    4.0
    """
    if count == whole:
        return total
    return early + (total - early) * (whole - at_once) / (count - at_once)


def step(network: Any, frames: Any, labels: Any) -> None:
    """Run forward and backward as the blog post does, without an optimiser; the loss is the cross entropy of the sum of the outputs over time."""
    from torch.nn.functional import cross_entropy

    from spikestore.train import forget_states

    forget_states(network)
    network.zero_grad(set_to_none=True)
    cross_entropy(network(frames).sum(1), labels).backward()


def _now(device: Any) -> float:
    """Wait until all work of the device is done, and return the time."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter()
