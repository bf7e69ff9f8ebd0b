"""Checkpoints: everything that a run needs to go on as if it had not stopped, in one file, written whole or not."""

from __future__ import annotations

import errno
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikestore.store import FeatureSet
from spikestore.store.storage.durable_files import replacing
from spikestore.store_schemas import Pin
from spikestore.store_schemas.errors import (
    DamagedError,
    NewerFormatError,
    SourceNotFoundError,
    StorageFullError,
    StoreError,
    UsageError,
)
from spikestore.train.runs.checkpoint.digest import content_digest
from spikestore.train.runs.checkpoint.schema import FrameValues, plain_values
from spikestore.train.runs.config import TrainConfig

CHECKPOINT_FORMAT = 1

_DIGEST = "sha256"
"""Member with the digest of all others."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Position:
    """Where a run is: the next batch, and the sums of its epoch so far.

    Attributes
    ----------
    epoch, batch : int
        The next batch to train on; batch 0 begins an epoch.
    loss_sum : float
        Sum over samples of this epoch's losses.
    samples : int
        Samples seen in this epoch.
    best : float
        Best accuracy on the valid split so far, -1 before the first.
    spikes : mapping of str to (float, float)
        Spikes, and neurons times bins, of each layer in this epoch.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    samples: int = 0
    best: float = -1.0
    spikes: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A run at some position.

    Attributes
    ----------
    config : TrainConfig
        Its configuration.
    data : dict of str to Pin
        Keys and digests of the feature sets, by split.
    shape : dict of str to int
        ``sites`` and ``classes`` of the network.
    position : Position
        Where the run is.
    weights : dict of str to Tensor
        Parameters, without membrane states.
    optimiser : dict
        State of the optimiser.
    random : dict of str to Tensor
        States of torch's random number generators.
    scaler : dict
        The scale of losses with precision float16; empty otherwise.
    classes : tuple of str
        Class names of the set that the network was trained on, label i means the i-th; empty in checkpoints that were
        written before they held any.
    loader : dict, optional
        State of the loader of the train split; None in what 0.1.0.dev0 wrote.
    frames : FrameValues, optional
        Transform and axes of the train split; None in checkpoints of before they were kept.
    origin : str
        The file that it came from, for messages.
    """

    config: TrainConfig
    data: dict[str, Pin]
    shape: dict[str, int]
    position: Position
    weights: dict[str, Tensor]
    optimiser: dict[str, Any]
    random: dict[str, Tensor]
    scaler: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    loader: dict[str, Any] | None = None
    frames: FrameValues | None = None
    origin: str = field(default="the checkpoint", compare=False)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: under a temporary name, fsynced, renamed. One that was there stays until then.

    Raises
    ------
    StorageFullError
        There is no room for it.
    StoreError
        It can't be written for another reason.
    """
    content = {
        "spikestore_checkpoint": CHECKPOINT_FORMAT,
        "config": checkpoint.config.to_mapping(),
        "data": {split: pin.to_mapping() for split, pin in checkpoint.data.items()},
        "shape": checkpoint.shape,
        "position": asdict(checkpoint.position),
        "weights": checkpoint.weights,
        "optimiser": checkpoint.optimiser,
        "random": checkpoint.random,
        "scaler": checkpoint.scaler,
        "classes": [*checkpoint.classes],
    }
    if checkpoint.loader is not None:
        content["loader"] = checkpoint.loader
    if checkpoint.frames is not None:
        content["frames"] = checkpoint.frames.to_mapping()
    content[_DIGEST] = content_digest(content)
    # In memory first: torch's own writer tells a full disk as an assertion that failed.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
    except OSError as error:
        kind, what = (
            (StorageFullError, "make room") if error.errno in _FULL else (StoreError, "fix the cause")
        )
        raise kind(
            f"cannot write {path} ({error.strerror}): {what} and run the same command again; training resumes from the "
            "last checkpoint",
            path=str(path),
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU. Nothing in it is executed: tensors and plain values only.

    Raises
    ------
    SourceNotFoundError
        There is no such file.
    DamagedError
        The file is no checkpoint, or damaged, or holds what no run has; the message names it.
    NewerFormatError
        A newer version wrote it.
    """
    content = _read(path)
    number = content.get("spikestore_checkpoint") if isinstance(content, dict) else None
    if not isinstance(content, dict) or type(number) is not int or number < 1:
        raise DamagedError(f"{path} is no checkpoint of spikestore", objects=(str(path),))
    _refuse_other_content(content, path)
    if number > CHECKPOINT_FORMAT:
        raise NewerFormatError(f"{path} was written by a newer spikestore: install it", path=str(path))
    try:
        plain = plain_values(content)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DamagedError(f"{path} is damaged: {error}", objects=(str(path),)) from error
    return Checkpoint(
        config=plain.config,
        data=plain.data,
        shape=plain.shape.model_dump(exclude_none=True),
        position=Position(**plain.position.model_dump()),
        weights=content["weights"],
        optimiser=content["optimiser"],
        random=content["random"],
        scaler=content.get("scaler", {}),  # there was none before there were precisions
        classes=plain.classes,
        loader=plain.loader,
        frames=plain.frames,
        origin=str(path),
    )


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError):
        raise SourceNotFoundError(f"there is no checkpoint {path}", path=str(path)) from None
    except PermissionError as error:
        raise StoreError(f"can't read {path}: {error.strerror}", path=str(path)) from error
    except Exception as error:  # a flipped bit can end in about any of them
        # torch's own text advises to unpickle the file, which is what must never be done.
        raise DamagedError(
            f"{path} is no checkpoint of spikestore, or damaged", objects=(str(path),)
        ) from error


def _refuse_other_content(content: dict[str, Any], path: Path) -> None:
    """Raise `DamagedError` if a checkpoint is not what was saved; those of before there was a digest pass."""
    if _DIGEST not in content:
        return
    try:
        digest = content_digest({name: value for name, value in content.items() if name != _DIGEST})
    except (TypeError, ValueError, RuntimeError) as error:
        raise DamagedError(f"{path} is damaged: {error}", objects=(str(path),)) from error
    if digest != content[_DIGEST]:
        raise DamagedError(
            f"{path} is damaged: its content is not what was saved; take the other one of best.pt and last.pt, or "
            "begin the run anew with --restart",
            objects=(str(path),),
        )


def refuse_other_data(checkpoint: Checkpoint, split: str, features: FeatureSet, *, path: Path) -> None:
    """Raise `UsageError` if a feature set is not what the run was trained with.

    A split that the run used must have the same digest; of another one, the transform must be that of the run.
    """
    pin = checkpoint.data.get(split)
    transform = checkpoint.data[checkpoint.config.data.train].transform_key
    if pin is not None and pin.digest == features.digest:
        return
    if features.pin.transform_key != transform:
        what = (
            f"with frames of the transform {transform[:12]}, {split} in the store has the transform "
            f"{features.pin.transform_key[:12]}"
        )
    elif pin is not None:
        what = f"with {split} of digest {pin.digest[:12]}, the store has {features.digest[:12]}: other data"
    else:
        return
    raise UsageError(
        f"{path} was trained {what}; --other-data goes on all the same", path=str(path), split=split
    )


def random_states() -> dict[str, Tensor]:
    """Return the states of torch's random number generators."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_states(states: dict[str, Tensor]) -> None:
    """Set the generators that exist here to the states of a run."""
    for name, state in states.items():
        if name == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available() and int(name.partition(":")[2]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, name)
