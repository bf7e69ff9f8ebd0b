"""Loads the network of a training run for use in scripts."""

from __future__ import annotations

import logging
from collections import OrderedDict
from pathlib import Path

import torch

from spikestore.store.machine import expand_home
from spikestore.store_schemas.errors import SourceNotFoundError, UsageError
from spikestore.store_schemas.specs.transform import Transform
from spikestore.train.data.placement import pick_device
from spikestore.train.models.backends import Backend, known_backend
from spikestore.train.models.memory_check import fitting_network
from spikestore.train.neurons.sequential import SpikingSequential
from spikestore.train.runs.checkpoint.checkpoint import load_checkpoint
from spikestore.train.runs.checkpoint.restore import restore_weights
from spikestore.train.runs.config import TrainConfig

logger = logging.getLogger(__name__)


class TrainedNetwork(SpikingSequential):
    """A network of `build_network` with the weights and metadata of a training run.

    Layers, parameters and ``state_dict`` are those of `build_network`. A slice of the network does not have the attributes below.

    Attributes
    ----------
    config : TrainConfig
        Configuration of the run.
    epochs : int
        Number of completed epochs.
    best_accuracy : float or None
        Best accuracy on the validation split so far; None before the end of the first epoch with this split.
    classes : tuple of str or None
        Class names; output i belongs to class i. `classes`, `frame_shape` and `transform` are None if an early version wrote the
        checkpoint.
    frame_shape : tuple of int or None
        Sizes of the axes after time: (polarity, [y,] x).
    transform : Transform or None
        Transform from recordings to frames, for `spikestore.pipeline.preprocess`.
    """

    config: TrainConfig
    epochs: int
    best_accuracy: float | None
    classes: tuple[str, ...] | None
    frame_shape: tuple[int, ...] | None
    transform: Transform | None


def load_network(
    path: Path | str, *, device: torch.device | str = "cpu", backend: Backend | None = None
) -> TrainedNetwork:
    """Return the network of a training run, ready to evaluate.

    Nothing in the file is executed. A run trained on a GPU can be loaded on a CPU.

    Parameters
    ----------
    path : Path or str
        A checkpoint, or the folder of a run. In a folder, ``best.pt`` is loaded; before the end of the first epoch, when
        there is no ``best.pt``, ``last.pt`` is loaded.
    device : torch.device or str
        Device of the network; ``auto`` is a GPU if there is one.
    backend : {"fused", "sinabs", "exodus"}, optional
        Implementation of the neurons; by default the backend of the run.

    Returns
    -------
    TrainedNetwork
        Maps frames, float32 (batch, time, polarity, [y,] x), to outputs, float32 (batch, time, classes); it is in ``eval()``
        mode. The class of a sample is the class whose output, summed over time, is largest. Membrane potentials persist
        between calls: call `forget_states` before each batch.

    Raises
    ------
    SourceNotFoundError
        The file does not exist, or the folder has no checkpoint.
    DamagedError
        The file is not a checkpoint of spikestore, or is damaged.
    NewerFormatError
        A newer version of spikestore wrote the file.
    StoreError
        The file can't be read, for example because a permission is missing.
    UsageError
        The path is empty; the device or the backend is not available; or the network does not fit into memory.

    Examples
    --------
    >>> network = load_network("runs/demo")                                               # doctest: +SKIP
    >>> forget_states(network)                                                            # doctest: +SKIP
    >>> network.classes[int(network(frames).sum(1)[0].argmax())]                          # doctest: +SKIP
    """
    if not str(path):  # pathlib reads an empty path as the current folder
        raise UsageError(
            "the path of a checkpoint is empty: pass a file, or the folder of a run (is a variable unset?)"
        )
    checkpoint = load_checkpoint(checkpoint_path(expand_home(path)))
    spec = checkpoint.config.network
    if backend is not None:
        spec = spec.model_copy(update={"backend": known_backend(backend)})
    built = fitting_network(spec, checkpoint.shape, pick_device(device), checkpoint.origin, copies=1)
    restore_weights(built, checkpoint)
    network = TrainedNetwork(OrderedDict(built.named_children()))
    frames, position = checkpoint.frames, checkpoint.position
    network.config, network.epochs = checkpoint.config, position.epoch
    network.best_accuracy = None if position.best < 0 else position.best
    network.classes = checkpoint.classes or None
    network.frame_shape = None if frames is None else frames.sites
    network.transform = None if frames is None else frames.transform
    network.eval()
    return network


def checkpoint_path(path: Path) -> Path:
    """Return the path of a checkpoint: ``best.pt`` in the folder of a run, or ``last.pt`` if there is no ``best.pt``. A path that is no folder is returned unchanged.

    Raises
    ------
    SourceNotFoundError
        The folder has neither ``best.pt`` nor ``last.pt``.
    """
    if not path.is_dir():
        return path
    for name in ("best.pt", "last.pt"):
        if (path / name).exists():
            if name == "last.pt":
                logger.info("%s has no best.pt yet: using last.pt", path)
            return path / name
    raise SourceNotFoundError(
        f"no best.pt or last.pt in {path}: pass a checkpoint, or the folder of a run",
        path=str(path),
    )
