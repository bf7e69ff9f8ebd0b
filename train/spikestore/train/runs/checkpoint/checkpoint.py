"""Checkpoints: everything that a run needs to resume exactly, in one file that is written atomically."""

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
"""Member that holds the digest of all other members."""

OTHER_CHECKPOINT = (
    "use the other checkpoint (best.pt or last.pt; to resume from best.pt, copy it to last.pt), "
    "or start the run over with --restart"
)
"""Advice in the message of a checkpoint that cannot be used."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Position:
    """Position of a run: its next batch, and the sums over its epoch so far.

    Attributes
    ----------
    epoch, batch : int
        The next batch to train on; batch 0 is the start of an epoch.
    loss_sum : float
        Losses of this epoch, summed over samples.
    samples : int
        Samples seen in this epoch.
    best : float
        Best accuracy on the validation split so far; -1 before the end of the first epoch with this split.
    spikes : mapping of str to (float, float)
        For each layer in this epoch: number of spikes, and number of outputs (neurons × time bins of all samples).
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    samples: int = 0
    best: float = -1.0
    spikes: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """The complete state of a run at one position.

    Attributes
    ----------
    config : TrainConfig
        Configuration of the run.
    data : dict of str to Pin
        Keys and digests of the feature sets by split.
    shape : dict of str to int
        Result of `network_shape`: the sizes of the network that depend on the frames.
    position : Position
        Next batch of the run, and sums of losses and spikes over the epoch so far.
    weights : dict of str to Tensor
        Parameters, without membrane states.
    optimiser : dict
        State of the optimiser.
    random : dict of str to Tensor
        States of torch's random number generators.
    scaler : dict
        The scale of losses with precision ``float16``; empty with other precisions.
    classes : tuple of str
        Class names of the training split, in the order of labels. Empty if an early version wrote the checkpoint
        without class names.
    loader : dict, optional
        State of the loader of the training split; None in checkpoints of version 0.1.0.dev0.
    frames : FrameValues, optional
        Transform and axes of the training split; None in checkpoints of early versions.
    origin : str
        Path of the checkpoint's file, for messages.
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
    """Write a checkpoint atomically: to a temporary file, which is fsynced and then replaces an earlier checkpoint.

    Raises
    ------
    StorageFullError
        The disk is full, or a limit (quota, file size) is reached.
    StoreError
        The file can't be written for another reason.
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
    # To memory first: on a full disk, torch's own writer fails an assertion.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
    except OSError as error:
        kind, what = (
            (StorageFullError, "make space on the disk")
            if error.errno in _FULL
            else (StoreError, "fix the cause")
        )
        raise kind(
            f"cannot write {path} ({error.strerror}): {what} and run the same command again, without --restart; training "
            "resumes from the last checkpoint",
            path=str(path),
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in a file, on the CPU; nothing in the file is executed.

    Raises
    ------
    SourceNotFoundError
        The file does not exist, or is a folder.
    DamagedError
        The file is not a checkpoint, is damaged, or contains impossible values; the message names the file.
    NewerFormatError
        A newer version of spikestore wrote the file.
    StoreError
        The file can't be read, for example because a permission is missing.
    """
    content = _read(path)
    number = content.get("spikestore_checkpoint") if isinstance(content, dict) else None
    if not isinstance(content, dict) or type(number) is not int or number < 1:
        raise DamagedError(
            f"{path} is not a checkpoint of spikestore: pass best.pt or last.pt of a run",
            objects=(str(path),),
        )
    _refuse_other_content(content, path)
    if number > CHECKPOINT_FORMAT:
        raise NewerFormatError(
            f"{path} was written by a newer version of spikestore: install a newer version (pip install --upgrade spikestore)",
            path=str(path),
        )
    try:
        plain = plain_values(content)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DamagedError(f"{path} is damaged: {error}; {OTHER_CHECKPOINT}", objects=(str(path),)) from error
    return Checkpoint(
        config=plain.config,
        data=plain.data,
        shape=plain.shape.model_dump(exclude_none=True),
        position=Position(**plain.position.model_dump()),
        weights=content["weights"],
        optimiser=content["optimiser"],
        random=content["random"],
        scaler=content.get("scaler", {}),  # checkpoints of early versions have none
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
        raise SourceNotFoundError(
            f"no checkpoint at {path}: pass a checkpoint, or the folder of a run", path=str(path)
        ) from None
    except PermissionError as error:
        raise StoreError(
            f"can't read {path} ({error.strerror}): get read permission, or pass another checkpoint",
            path=str(path),
        ) from error
    except Exception as error:  # a flipped bit can raise almost any of them
        # torch's message is dropped: it advises to unpickle the file, which must never be done.
        raise DamagedError(
            f"{path} is not a checkpoint of spikestore, or it is damaged: {OTHER_CHECKPOINT}",
            objects=(str(path),),
        ) from error


def _refuse_other_content(content: dict[str, Any], path: Path) -> None:
    """Raise `DamagedError` if the content of a checkpoint differs from its digest; early versions wrote no digest."""
    if _DIGEST not in content:
        return
    try:
        digest = content_digest({name: value for name, value in content.items() if name != _DIGEST})
    except (TypeError, ValueError, RuntimeError) as error:
        raise DamagedError(f"{path} is damaged: {error}; {OTHER_CHECKPOINT}", objects=(str(path),)) from error
    if digest != content[_DIGEST]:
        raise DamagedError(
            f"{path} is damaged: its content does not match its digest; {OTHER_CHECKPOINT}",
            objects=(str(path),),
        )


def refuse_other_data(checkpoint: Checkpoint, split: str, features: FeatureSet, *, path: Path) -> None:
    """Raise `UsageError` if a split of the data does not fit the run.

    If the run used this split, the set must have the digest that it had in the run. Otherwise, only the transform must be that of the run.
    """
    pin = checkpoint.data.get(split)
    transform = checkpoint.data[checkpoint.config.data.train].transform_key
    if pin is not None and pin.digest == features.digest:
        return
    if features.pin.transform_key != transform:
        what = (
            f"with the transform {transform[:12]}, but the split {split} in the store has the transform "
            f"{features.pin.transform_key[:12]}"
        )
    elif pin is not None:
        what = f"on other data: the split {split} had the digest {pin.digest[:12]}, but in the store it has {features.digest[:12]}"
    else:
        return
    raise UsageError(
        f"{path} was trained {what}; pass --other-data to continue anyway", path=str(path), split=split
    )


def random_states() -> dict[str, Tensor]:
    """Return the states of torch's random number generators."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_states(states: dict[str, Tensor]) -> None:
    """Set torch's generators to the states of a run; states of absent GPUs are ignored."""
    for name, state in states.items():
        if name == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available() and int(name.partition(":")[2]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, name)
