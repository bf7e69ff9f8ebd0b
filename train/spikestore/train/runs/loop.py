"""The training loop: trains a network on feature sets and writes checkpoints."""

from __future__ import annotations

import logging
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from spikestore.store import FeatureSet
from spikestore.store.columns.limits import frame_byte_limit
from spikestore.store.progress import Progress
from spikestore.store_schemas import Pin
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.wording import plural
from spikestore.train.data.augmentation.tables import augmentations_of
from spikestore.train.data.loader import FeatureLoader
from spikestore.train.data.placement import agreed_residence, choose_residence
from spikestore.train.models.memory_check import fitting_network, network_shape
from spikestore.train.models.networks import weights
from spikestore.train.runs.batch_limit import refuse_large_batches
from spikestore.train.runs.checkpoint.checkpoint import (
    OTHER_CHECKPOINT,
    Checkpoint,
    Position,
    random_states,
    save_checkpoint,
)
from spikestore.train.runs.checkpoint.restore import restore_position, restore_run
from spikestore.train.runs.checkpoint.schema import FrameValues
from spikestore.train.runs.class_names import check_sets, warn_of_one_class
from spikestore.train.runs.config import DataConfig, OptimiserConfig, TrainConfig
from spikestore.train.runs.graphs import TrainingStep
from spikestore.train.runs.monitor import (
    ADVICE,
    NOWHERE,
    SpikeCounts,
    TrainingError,
    first_not_finite,
    refuse_not_finite,
    silent_layers,
)
from spikestore.train.runs.precision import Arithmetic, Precision
from spikestore.train.runs.ranks import ALONE, Ranks
from spikestore.train.runs.step import accuracy, warm_up

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochResult:
    """Metrics of one epoch.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1.
    loss : float
        Mean loss over the training split.
    accuracy : float
        Share of the validation split that was classified correctly.
    spike_rates : dict of str to float
        For each layer, the spikes per neuron and time bin during training.
    """

    epoch: int
    loss: float
    accuracy: float
    spike_rates: dict[str, float]


def train(
    config: TrainConfig,
    features: dict[str, FeatureSet],
    folder: Path,
    *,
    device: torch.device,
    start: Checkpoint | None = None,
    origin: str = "the configuration",
    ranks: Ranks = ALONE,
    progress: Progress,
) -> list[EpochResult]:
    """Train a network; return the metrics of each epoch that ends in this call.

    Parameters
    ----------
    config : TrainConfig
        The run.
    features : dict of str to FeatureSet
        Feature sets by split; only the two named in `config` are used.
    folder : Path
        Folder for ``last.pt``, ``best.pt`` and TensorBoard's scalars.
    device : torch.device
        Device of the network and the batches.
    start : Checkpoint, optional
        Checkpoint to resume from; the result equals that of a run that was never interrupted. The interrupted epoch
        keeps its order of rows, also if it began with another residence (memory that holds the data).
        If the training split has changed, the epoch restarts; if the validation split has changed, the best accuracy is reset.
    origin : str
        File or object from which `config` was read, for messages.
    ranks : Ranks
        Processes that train together, each with its own `device`; all ranks get the same results, and rank 0 writes
        files.
    progress : callable
        Called during loading and training as ``progress(done, total, label)``.

    Raises
    ------
    UsageError
        The network can't be built on this machine or for these frames; a value of the configuration does not fit the sets or the
        device; the two sets list their classes in different orders; the training split has no events in any time bin; or a batch exceeds
        the limit of its frames. Validation batches that exceed the limit are reported before the first step.
    TrainingError
        The loss is not finite, or the weights are not finite when a checkpoint is due; the message names the first layer or parameter with
        values that are not finite.
    DamagedError
        A feature set is damaged, or `start` does not fit the network or the sets.
    StoreError
        A checkpoint can't be written, or a set can't be read.
    """
    check_sets(config.data, features)
    torch.manual_seed(config.seed)
    data = config.data

    def loader(split: str, *, training: bool) -> FeatureLoader:
        residence = data.residence
        if ranks.count > 1:
            residence = agreed_residence(ranks.from_all(choose_residence(features[split], residence, device)))
        return FeatureLoader(
            features[split],
            data.batch_size,
            residence=residence,
            shuffle=training,
            seed=config.seed,
            device=device,
            augment=augmentations_of(config.augment, config.seed) if training else (),
            pad_to=data.pad_to,
            pad_at_least=data.pad_at_least,
            truncate_to=data.truncate_to if training else data.cut_of(features[split].manifest.n_bins),
            window=data.window,
            max_frame_bytes=data.max_frame_bytes,
            rows=data.rows(split),
            progress=progress,
            rank=ranks.rank,
            ranks=ranks.count,
        )

    shape = network_shape(features[data.train], config.network)
    # An error of the network should not wait for the sets to load.
    network = fitting_network(config.network, shape, device, origin)
    batches, valid = loader(data.train, training=True), loader(data.valid, training=False)
    if ranks.first:
        warn_of_one_class(f"{data.name}:{data.train}", batches.dataset)
    refuse_large_batches(data, features[data.valid], valid, ranks=ranks.count)
    optimiser = make_optimiser(config.optimiser, network)
    arithmetic = Arithmetic(config.precision, device)
    frames = FrameValues.of(features[data.train])
    pins = {split: features[split].pin for split in (data.train, data.valid)}
    classes = features[data.train].classes
    position = Position()
    if start is not None:
        restore_run(network, optimiser, arithmetic, start)
        position = _position(start, pins, data, len(batches))
        if start.data[data.train].digest == pins[data.train].digest:
            restore_position(batches, start, data.residence)
    if device.type == "cuda":
        logger.debug("compiling kernels for %s", device)
        frames_shape = warm_up_shape(data, features[data.train], ranks.count)
        if frames_shape is not None:
            warm_up(network, torch.zeros(frames_shape, device=device), arithmetic)
    step = TrainingStep(
        ranks.parallel(network),
        optimiser,
        config.optimiser.clip_norm,
        arithmetic=arithmetic,
        ranks=ranks,
        cuda_graphs=config.cuda_graphs,
    )

    others_stay = (
        start is None
    )  # until this run has a checkpoint, those in the folder are of a run before --restart

    def keep(name: str) -> None:
        nonlocal others_stay
        if ranks.first:
            state = weights(network), optimiser.state_dict(), random_states(), arithmetic.state()
            loader_state = batches.state_dict()
            checkpoint = Checkpoint(
                config, pins, shape, position, *state, classes=classes, loader=loader_state, frames=frames
            )
            save_checkpoint(folder / name, checkpoint)
            if others_stay and name == "best.pt":  # else a run that ends here would resume as the former one
                (folder / "last.pt").unlink(missing_ok=True)
            others_stay = False

    spikes, results = SpikeCounts(network, position.spikes, ranks), []
    with _board(folder, position.epoch + 1) if ranks.first else nullcontext() as board:
        for epoch in range(position.epoch, config.epochs):
            network.train()
            batches.set_epoch(epoch)
            for number, batch in enumerate(batches, position.batch + 1):
                loss = float(step(batch))  # the only wait for the GPU in a step
                if not math.isfinite(loss):
                    with arithmetic.cast():
                        layer = first_not_finite(network, batch.frames)
                    raise _not_finite(ranks.from_all(layer), epoch, number, config.precision)
                seen = min(data.batch_size, batches.samples - position.samples)
                position = replace(
                    position,
                    batch=number,
                    loss_sum=position.loss_sum + loss * seen,
                    samples=position.samples + seen,
                )
                progress(position.samples, batches.samples, f"epoch {epoch + 1}")
                if (
                    config.checkpoint_batches
                    and number % config.checkpoint_batches == 0
                    and number < len(batches)
                ):
                    refuse_not_finite(network, optimiser, epoch, number)
                    position = replace(position, spikes=spikes.totals())
                    keep("last.pt")
                    if position.epoch == 0 and ranks.first:  # best.pt is that of a run before --restart
                        (folder / "best.pt").unlink(missing_ok=True)
            refuse_not_finite(network, optimiser, epoch, position.batch)
            right = accuracy(network, valid, arithmetic=arithmetic, ranks=ranks)
            result = EpochResult(epoch + 1, position.loss_sum / position.samples, right, spikes.rates())
            spikes.clear()
            results.append(result)
            if board is not None:
                _log(result, board, data.valid)
            better = result.accuracy > position.best
            position = Position(epoch + 1, best=max(position.best, result.accuracy))
            if better:
                keep("best.pt")
            keep("last.pt")
    return results


def warm_up_shape(data: DataConfig, features: FeatureSet, ranks: int) -> tuple[int, ...] | None:
    """Return the shape of the largest batch of a rank within ``max_frame_bytes``.

    The loader rejects larger batches. Without this limit, the `n_bins` of a malicious manifest could ask for any amount
    of memory.

    Parameters
    ----------
    data : DataConfig
        Batches of the training run.
    features : FeatureSet
        The set to train on.
    ranks : int
        Processes that train together.

    Returns
    -------
    tuple of int, or None
        (batch, time, polarity, [y,] x); None if even one time bin exceeds the limit.
    """
    share, sites = -(-data.batch_size // ranks), features.layout.sites
    bin_bytes = share * math.prod(sites) * torch.float32.itemsize
    bins_of_set = features.manifest.n_bins
    longest = data.pad_to or max(min(data.truncate_to or bins_of_set, bins_of_set), data.pad_at_least or 0)
    bins = min(longest, frame_byte_limit(data.max_frame_bytes) // bin_bytes)
    return (share, bins, *sites) if bins else None


def _position(start: Checkpoint, pins: dict[str, Pin], data: DataConfig, batches: int) -> Position:
    """Return the position at which to resume: the position of the checkpoint, or the start of its epoch if the training split has changed."""
    position = start.position
    if start.data[data.train].digest != pins[data.train].digest and position.batch > 0:
        logger.info(
            "the data of %s changed since the last checkpoint: epoch %d restarts",
            data.train,
            position.epoch + 1,
        )
        position = Position(position.epoch, best=position.best)
    if start.data[data.valid].digest != pins[data.valid].digest:
        position = replace(position, best=-1.0)  # accuracies on different sets can't be compared
    if position.batch >= batches:
        raise DamagedError(
            f"{start.origin} is damaged: position.batch is {position.batch}, but an epoch has {plural(batches, 'batch')}; "
            f"{OTHER_CHECKPOINT}",
            objects=(start.origin,),
        )
    return position


def make_optimiser(config: OptimiserConfig, network: nn.Module) -> torch.optim.AdamW:
    """Return an AdamW optimiser for all parameters of a network."""
    # On a GPU: one kernel for all parameters, which a CUDA graph can replay.
    on_gpu = all(parameter.device.type == "cuda" for parameter in network.parameters())
    options: dict[str, Any] = {"fused": True, "capturable": True} if on_gpu else {}
    return torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, **options
    )


def _board(folder: Path, first: int) -> AbstractContextManager[SummaryWriter]:
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first)


def _not_finite(layers: list[str], epoch: int, number: int, precision: Precision) -> TrainingError:
    first = next((layer for layer in layers if layer != NOWHERE), NOWHERE)
    if (epoch, number) == (0, 1):
        advice = "this batch came before the first optimiser step, so the initial weights are too large: lower input_scale under [network]"
        advice += ", or set another precision" if precision == "float16" else ""
    else:
        advice = ADVICE
    return TrainingError(
        f"the loss of batch {number} in epoch {epoch + 1} is not finite (first seen in {first}): {advice}",
        epoch=epoch + 1,
        batch=number,
        first=first,
    )


def _log(result: EpochResult, board: SummaryWriter, valid: str) -> None:
    board.add_scalar("loss/train", result.loss, result.epoch)
    board.add_scalar("accuracy/valid", result.accuracy, result.epoch)
    for name, rate in result.spike_rates.items():
        board.add_scalar(f"spikes per neuron and bin/{name}", rate, result.epoch)
    logger.info("epoch %d: loss %.4f, accuracy on %s %.3f", result.epoch, result.loss, valid, result.accuracy)
    for name in silent_layers(result.spike_rates):
        logger.warning(
            "epoch %d: layer %s never spiked; raise input_scale or lower spike_threshold under [network]",
            result.epoch,
            name,
        )
