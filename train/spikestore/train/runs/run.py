"""Starts or resumes a training run in its folder, and evaluates its checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spikestore.store import FeatureSet, Store
from spikestore.store.progress import Progress
from spikestore.store.selection import no_such_split
from spikestore.store.upstreams import Upstreams
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import plural
from spikestore.train.data.loader import FeatureLoader
from spikestore.train.data.placement import Residence, pick_device
from spikestore.train.data.subsets import SHD_SPEAKER
from spikestore.train.models.backends import Backend
from spikestore.train.models.memory_check import fitting_network, network_shape
from spikestore.train.runs.checkpoint.checkpoint import Checkpoint, load_checkpoint, refuse_other_data
from spikestore.train.runs.checkpoint.restore import began_with, restore_weights
from spikestore.train.runs.class_names import refuse_other_labels
from spikestore.train.runs.config import TrainConfig
from spikestore.train.runs.loop import EpochResult, train
from spikestore.train.runs.precision import Arithmetic
from spikestore.train.runs.ranks import ALONE, Ranks
from spikestore.train.runs.run_folder import only_writer, refuse_unwritable, remove_unused
from spikestore.train.runs.step import accuracy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Result of a training run.

    Attributes
    ----------
    epochs : list of EpochResult
        Metrics of the epochs trained in this call; empty if the run was already finished.
    best : float
        Best accuracy on the validation split, of all epochs with this split.
    """

    epochs: list[EpochResult]
    best: float


def run(
    config: TrainConfig,
    store: Store,
    folder: Path,
    *,
    device: str | torch.device = "auto",
    restart: bool = False,
    other_data: bool = False,
    origin: str = "the configuration",
    upstreams: Upstreams | None = None,
    copy_progress: Progress | None = None,
    ranks: Ranks = ALONE,
    progress: Progress,
) -> Outcome:
    """Start a training run, or resume the run in `folder`.

    Sets that `store` lacks are copied from the first of `upstreams` that has them. With several `ranks`, each rank has
    its own device; one rank of each machine copies, and only rank 0 reads and writes `folder`. Messages refer to
    `config` as `origin`.

    Raises
    ------
    UsageError
        The folder has a run of another configuration, and `restart` is false; it has a run of other data, and `restart` and
        `other_data` are false; another process writes to the folder; or neither `store`
        nor `upstreams` have a set.
    StoreError
        The folder can't be written to, or its ``last.pt`` can't be used (`load_checkpoint`).

    The errors of `train`, and of copying sets, are raised too.
    """
    # Errors of the folder come before anything is copied or loaded.
    with _own_folder(folder, config.epochs, restart, ranks):
        chosen = pick_device(device)
        splits = (config.data.train, config.data.valid)
        stored = tuple(config.data.stored_split(split) for split in splits)

        def copy() -> None:
            if upstreams and not _has(store, config.data.name, stored):
                upstreams.fetch_named(store, config.data.name, dict.fromkeys(stored), progress=copy_progress)

        ranks.once_a_machine("copied", copy)
        known = _features(store, config.data.name, stored)
        features = {split: known[name] for split, name in zip(splits, stored, strict=True)}
        start = ranks.from_first(lambda: None if restart else _last_checkpoint(folder))
        if start is None and not restart and (folder / "best.pt").is_file():
            logger.warning(
                "%s has a best.pt but no last.pt, so the run starts from the beginning and replaces best.pt: to resume from best.pt, "
                "interrupt this run before its first checkpoint, and copy best.pt to last.pt",
                folder,
            )
        best = -1.0 if start is None else start.position.best
        if start is not None:
            _refuse_other_config(start.config, config, folder)
            if not other_data:
                for split in splits:
                    refuse_other_data(start, split, features[split], path=folder / "last.pt")
            same_data = start.data[config.data.train].digest == features[config.data.train].digest
            if start.loader is None and start.position.batch and same_data:
                began_with(start, config.data.residence)  # raises before anything is loaded
            if start.position.epoch >= config.epochs:
                logger.info(
                    "the run in %s is finished: it has all its epochs (%d)", folder, start.position.epoch
                )
                return Outcome([], best)
            _same_shape(start, features[config.data.train])
            label = f"{config.data.name}:{config.data.train}"
            refuse_other_labels(start, features[config.data.train], label, store, other_data=other_data)
            logger.info("resuming %s in epoch %d", folder, start.position.epoch + 1)
        logger.info(
            "training on %s%s",
            chosen,
            "" if ranks.count == 1 else f", with {plural(ranks.count - 1, 'other rank')}",
        )
        if start is not None and start.data[config.data.valid].digest != features[config.data.valid].digest:
            best = -1.0  # accuracy on another set
        results = train(
            config,
            features,
            folder,
            device=chosen,
            start=start,
            origin=origin,
            ranks=ranks,
            progress=progress,
        )
        return Outcome(results, max([best, *(result.accuracy for result in results)]))


@contextmanager
def _own_folder(folder: Path, epochs: int, restart: bool, ranks: Ranks) -> Iterator[None]:
    """Lock the folder of a run during the ``with`` block, unless the run has already trained all epochs.

    A new folder is removed after the block if the block wrote nothing into it.
    """
    with ExitStack() as held:

        def begin() -> None:
            begun = None if restart else _last_checkpoint(folder)
            if begun is not None and begun.position.epoch >= epochs:
                return
            is_new = not folder.exists()
            refuse_unwritable(folder)
            held.enter_context(only_writer(folder))
            if is_new:
                held.callback(remove_unused, folder)

        ranks.from_first(begin)
        yield


def _last_checkpoint(folder: Path) -> Checkpoint | None:
    path = folder / "last.pt"
    return load_checkpoint(path) if path.is_file() else None


def evaluate(
    path: Path,
    store: Store,
    *,
    split: str,
    name: str | None = None,
    device: str = "auto",
    residence: Residence = "auto",
    other_data: bool = False,
    backend: Backend | None = None,
    max_frame_bytes: int | None = None,
    progress: Progress,
) -> tuple[float, int]:
    """Return (accuracy, number of samples) of a checkpoint on one split.

    `backend` and `max_frame_bytes` replace the values of the run. The batch size is the same as in the run, because a sample
    may be padded to the longest sample of its batch, and padding changes the outputs.

    Raises
    ------
    UsageError
        A batch needs more than `max_frame_bytes`. The split has another digest, transform or class names than in training, and
        `other_data` is false. The split has the class names of the training in another order. The split does not fit the network,
        or the run's ``pad_to``. `split` is ``shd-speaker``, but the run was trained on all speakers. The store has no name `name`,
        or the name has no split `split` (`UnknownNameError`). There is no checkpoint (`SourceNotFoundError`).
    StoreError
        The checkpoint or the set is damaged, or can't be read.
    """
    checkpoint = load_checkpoint(path)
    data = checkpoint.config.data
    if split == SHD_SPEAKER != data.valid:
        raise UsageError(
            f"{path} was trained on all speakers of {data.train}, so also on the samples of {split}: "
            f'train another network with valid = "{split}"'
        )
    stored = data.stored_split(split)
    features = _features(store, name or data.name, (stored,))[stored]
    if not other_data:
        refuse_other_data(checkpoint, split, features, path=path)
    label = f"{name or data.name}:{split}"
    refuse_other_labels(checkpoint, features, label, store, other_data=other_data)
    spec = checkpoint.config.network
    if backend is not None:
        spec = spec.model_copy(update={"backend": backend})
    shape = _same_shape(checkpoint, features)
    _refuse_longer(checkpoint, features, label)
    torch_device = pick_device(device)
    network = fitting_network(spec, shape, torch_device, str(path), copies=1)
    restore_weights(network, checkpoint)
    loader = FeatureLoader(
        features,
        data.batch_size,
        residence=residence,
        device=torch_device,
        pad_to=data.pad_to,
        pad_at_least=data.pad_at_least,
        truncate_to=data.cut_of(features.manifest.n_bins),
        max_frame_bytes=data.max_frame_bytes if max_frame_bytes is None else max_frame_bytes,
        rows=data.rows(split) if split == data.valid else None,
        progress=progress,
    )
    arithmetic = Arithmetic(checkpoint.config.precision, torch_device)
    try:
        return accuracy(network, loader, arithmetic=arithmetic), loader.samples
    except UsageError as error:
        if error.details.get("field") != "max_frame_bytes":
            raise
        raise UsageError(
            f"{error.details['why']}, and the batch size of {path} cannot be changed: if there is "
            f"enough memory, pass --max-frame-bytes {error.details['needed']} or more",
            **error.details,
        ) from error


def _same_shape(checkpoint: Checkpoint, features: FeatureSet) -> dict[str, int]:
    """Return the `network_shape` of a set; raise an error if the checkpoint was trained with another shape."""
    shape = network_shape(features, checkpoint.config.network)
    if shape != checkpoint.shape:
        raise UsageError(
            f"{checkpoint.origin} was trained for {checkpoint.shape}, but {features!r} has {shape}: "
            "pass a feature set with the shape and the number of classes of the training set",
            path=checkpoint.origin,
        )
    return shape


def _refuse_longer(checkpoint: Checkpoint, features: FeatureSet, label: str) -> None:
    """Raise an error if a sample of a set is longer than the run's ``pad_to``. A run's ``pad_to`` cannot be changed later."""
    pad_to, longest = checkpoint.config.data.pad_to, features.manifest.n_bins
    longest = checkpoint.config.data.cut_of(longest) or longest
    if pad_to is not None and longest > pad_to:
        raise UsageError(
            f"{checkpoint.origin} was trained with pad_to = {pad_to}, but the longest sample of {label} has {longest} time bins: train again "
            f"with pad_to = {longest} or more, or with truncate_to = {pad_to}",
            path=checkpoint.origin,
            field="pad_to",
        )


def _has(store: Store, name: str, splits: tuple[str, ...]) -> bool:
    ref = store.ref(name)
    return ref is not None and set(splits) <= ref.splits.keys()


def _features(store: Store, name: str, splits: tuple[str, ...]) -> dict[str, FeatureSet]:
    known = store.splits(name)
    for split in splits:
        if split not in known:
            raise no_such_split(store.storage, name, split, known)
    return known


def _refuse_other_config(old: TrainConfig, new: TrainConfig, folder: Path) -> None:
    # More epochs continue the same run; checkpoint_batches, cuda_graphs, max_frame_bytes and upstreams do not change results. The
    # residence decides the order of later epochs; the rest of a started epoch keeps the order with which it began.
    before, after = _flat(old.to_mapping()), _flat(new.to_mapping())
    free = {
        "epochs",
        "checkpoint_batches",
        "cuda_graphs",
        "data.max_frame_bytes",
        "data.residence",
        "upstreams",
    }
    changed = [name for name in after if name not in free and before.get(name) != after[name]]
    if changed:
        listing = "".join(f"\n  {name}: {before.get(name)} before, {after[name]} now" for name in changed)
        raise UsageError(
            f"{folder} has a run of another configuration: start over with --restart, or pass another --folder{listing}",
            path=str(folder),
        )


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
