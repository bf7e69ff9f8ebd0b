"""What is done with one batch: a training step, or counting what was classified right."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikestore.train.data.batch import Batch
from spikestore.train.data.loader import FeatureLoader
from spikestore.train.models.networks import forget_states
from spikestore.train.runs.precision import Arithmetic
from spikestore.train.runs.ranks import ALONE, Ranks

_FLOAT32 = Arithmetic()


def training_step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    clip_norm: float | None = None,
    *,
    arithmetic: Arithmetic = _FLOAT32,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Take one step: cross entropy of the outputs summed over time.

    Parameters
    ----------
    network : nn.Module
        From frames to outputs, (batch, time, classes). Its neurons start from rest. With several ranks it is what
        `Ranks.parallel` gave.
    optimiser : torch.optim.Optimizer
        Takes the step, unless the loss is not finite.
    batch : Batch
        Samples; time bins behind the end of a sample count as input of zeros. With several ranks this rank's share of
        a global batch; it may be empty.
    clip_norm : float, optional
        Largest norm of the gradient of all parameters together.
    arithmetic : Arithmetic
        Precision of linear layers and convolutions; float32 by default.
    ranks : Ranks
        Processes that train together; all of them take the step.

    Returns
    -------
    Tensor
        The loss, mean over the (global) batch, detached, shape ().
    """
    forget_states(network)
    bins, samples = ranks.whole_batch(batch.frames.shape[1], len(batch.labels))
    with arithmetic.cast():
        outputs = network(ranks.padded(batch.frames, bins))
    outputs = outputs.float().sum(1)
    if ranks.count == 1:
        loss = cross_entropy(outputs, batch.labels)
    else:  # gradients become the mean over ranks: together that of the mean over the global batch
        loss = cross_entropy(outputs, batch.labels, reduction="sum") * (ranks.count / samples)
    optimiser.zero_grad(set_to_none=True)
    arithmetic.backward(loss)
    loss = ranks.total(loss.detach()) / ranks.count
    if torch.isfinite(loss):
        arithmetic.step(optimiser, network, clip_norm)
    return loss


@torch.no_grad()
def accuracy(
    network: nn.Module, loader: FeatureLoader, *, arithmetic: Arithmetic = _FLOAT32, ranks: Ranks = ALONE
) -> float:
    """Return the share of samples whose label has the largest output, summed over time; exact for any number of ranks."""
    network.eval()
    right = torch.zeros((), dtype=torch.int64, device=loader.device)
    for batch in loader:
        forget_states(network)
        bins, _ = ranks.whole_batch(batch.frames.shape[1], len(batch.labels))
        with arithmetic.cast():
            outputs = network(ranks.padded(batch.frames, bins))
        right += (outputs.float().sum(1).argmax(1) == batch.labels).sum()
    return int(ranks.total(right)) / loader.samples
