"""A training step, the accuracy over a loader's batches, and a warm-up step without effects."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import plural
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
    """Take one training step; the loss is the cross entropy of the outputs summed over time.

    Parameters
    ----------
    network : nn.Module
        Maps frames to outputs, (batch, time, classes). Its neurons start from rest. With several ranks, pass what
        `Ranks.parallel` returns.
    optimiser : torch.optim.Optimizer
        Takes the step if the loss is finite; with ``float16``, only if the gradients are finite too.
    batch : Batch
        Samples; time bins after the end of a sample are used as input of zeros. With several ranks, this rank's share of a
        global batch; the share may be empty.
    clip_norm : float, optional
        Largest norm of the gradient of all parameters together.
    arithmetic : Arithmetic
        Precision of linear layers and convolutions; float32 by default.
    ranks : Ranks
        Processes that train together; all of them take the step.

    Returns
    -------
    Tensor
        Mean loss over the batch, or over the global batch with several ranks; detached, shape ().

    Raises
    ------
    UsageError
        The network does not accept sparse frames.
    """
    forget_states(network)
    bins, samples = ranks.whole_batch(batch.frames.shape[1], len(batch.labels))
    optimiser.zero_grad(set_to_none=True)
    # DDP averages gradients over ranks: with this factor, the mean over the global batch.
    share = None if ranks.count == 1 else ranks.count / samples
    loss = loss_and_gradients(network, ranks.padded(batch.frames, bins), batch.labels, arithmetic, share)
    loss = ranks.total(loss) / ranks.count
    if torch.isfinite(loss):
        arithmetic.step(optimiser, network, clip_norm)
    return loss


def loss_and_gradients(
    network: nn.Module, frames: Tensor, labels: Tensor, arithmetic: Arithmetic, share: float | None = None
) -> Tensor:
    """Run forward and backward passes of a network whose neurons are at rest; the host does not wait for the device.

    Parameters
    ----------
    network : nn.Module
        The network; its parameters get gradients, which `arithmetic` may have scaled.
    frames : Tensor, shape (batch, time, polarity, [y,] x)
        Input of the network.
    labels : int64 Tensor, shape (batch,), or float32 Tensor, shape (batch, classes)
        Class numbers, or weights of all classes.
    arithmetic : Arithmetic
        Precision.
    share : float, optional
        Factor by which the loss, summed over samples, is multiplied; by default the loss is the mean over samples.

    Returns
    -------
    Tensor
        The loss, detached, shape ().

    Raises
    ------
    UsageError
        The network does not accept sparse frames.
    """
    with arithmetic.cast():
        outputs = _outputs(network, frames)
    outputs = outputs.float().sum(1)
    if share is None:
        loss = cross_entropy(outputs, labels)
    else:
        loss = cross_entropy(outputs, labels, reduction="sum") * share
    arithmetic.backward(loss)
    return loss.detach()


def _outputs(network: nn.Module, frames: Tensor) -> Tensor:
    try:
        outputs: Tensor = network(frames)
    except RuntimeError as error:
        # The user's code may fail for another reason.
        if not frames.is_sparse or "sparse" not in str(error).lower():
            raise
        raise UsageError(
            f"the network does not accept sparse frames (torch: {error}): pass frames='dense' to FeatureLoader"
        ) from error
    return outputs


def warm_up(network: nn.Module, frames: Tensor, arithmetic: Arithmetic = _FLOAT32) -> None:
    """Run the forward and backward pass of a network once, so that kernels are compiled before training starts.

    Weights and random numbers do not change; gradients are dropped, and neurons are at rest afterwards.

    Parameters
    ----------
    network : nn.Module
        The network; it is in training mode afterwards.
    frames : Tensor, shape (batch, time, polarity, [y,] x)
        Shaped like the frames in training; zeros suffice.
    arithmetic : Arithmetic
        Precision.
    """
    network.train()
    forget_states(network)
    loss_and_gradients(
        network, frames, torch.zeros(len(frames), dtype=torch.int64, device=frames.device), arithmetic
    )
    network.zero_grad(set_to_none=True)
    forget_states(network)
    with torch.no_grad(), arithmetic.cast():  # evaluation has its own kernels
        network(frames)
    forget_states(network)
    if frames.is_cuda:
        torch.cuda.synchronize(frames.device)


@torch.no_grad()
def accuracy(
    network: nn.Module, loader: FeatureLoader, *, arithmetic: Arithmetic = _FLOAT32, ranks: Ranks = ALONE
) -> float:
    """Return the share of samples that the network classifies correctly, over all ranks.

    The network's answer is the class whose output, summed over time, is largest. The samples are those of the loader's next
    pass, so samples that ``drop_last`` leaves out do not count. The network is in evaluation mode afterwards.

    Raises
    ------
    UsageError
        The loader has an augmentation that mixes labels; its next pass has no batch; or the network does not accept sparse frames.
    """
    if loader.mixes_labels:
        raise UsageError(
            "accuracy needs class numbers, but CutMix or EventMix mixes the labels of this loader: use a loader without CutMix and EventMix"
        )
    network.eval()
    correct, seen = torch.zeros((), dtype=torch.int64, device=loader.device), 0
    for batch in loader:
        forget_states(network)
        bins, samples = ranks.whole_batch(batch.frames.shape[1], len(batch.labels))
        seen += samples
        with arithmetic.cast():
            outputs = _outputs(network, ranks.padded(batch.frames, bins))
        correct += (outputs.float().sum(1).argmax(1) == batch.labels).sum()
    if not seen and len(loader):
        raise UsageError(
            "accuracy needs a sample, but load_state_dict put this loader at the end of an epoch: call accuracy again for the next epoch"
        )
    if not seen:
        raise UsageError(
            f"accuracy needs a sample, but this loader has no batch: it has {plural(loader.samples, 'sample')}, a batch has {loader.batch_size}, "
            "and drop_last leaves out smaller batches; set drop_last=False, or lower batch_size"
        )
    return int(ranks.total(correct)) / seen
