"""The configuration of a training run, read from TOML."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.model import AsTuple, Count, Location, Name, Real, Size, Spec
from spikestore.store_schemas.specs.toml_file import model_in_toml
from spikestore.train.data.augmentation.tables import checked_tables
from spikestore.train.data.placement import Residence
from spikestore.train.data.subsets import SHD_SPEAKER
from spikestore.train.models.networks import NetworkSpec
from spikestore.train.runs.precision import Precision

CudaGraphs = Literal["auto", True, False]  # one type, so that pydantic reports a wrong value once
"""``"auto"``: steps are replayed if possible; True: an error is raised at the start if steps can't be replayed; False: no step is replayed."""

Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]


def _in_range(rate: float) -> float:
    if rate > 1e30:  # the first step of AdamW is ten times as large, in float32
        raise ValueError("must be at most 1e30")
    return rate


def _tables(table: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        return checked_tables(table)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _one_list(several: tuple[list[dict[str, Any]], ...]) -> tuple[dict[str, Any], ...]:
    return tuple(itertools.chain.from_iterable(several))


AugmentationTables = Annotated[
    tuple[Annotated[dict[str, Any], AfterValidator(_tables)], ...], AsTuple, AfterValidator(_one_list)
]
"""Tables ``[[augment]]``, each with the values of all fields; a preset is replaced by its tables."""


class DataConfig(Spec):
    """The table ``[data]``: the feature sets, and how they are loaded."""

    name: Name
    """Name of the feature sets in the store."""
    train: Name = "train"
    """Split to train on."""
    valid: Name = "valid"
    """Split to measure accuracy on; ``shd-speaker`` holds out speakers 6 and 7 of the split ``train`` of SHD."""
    batch_size: Size = 128
    pad_to: Size | None = None
    """Time bins of every batch; by default those of its longest sample."""
    pad_at_least: Size | None = None
    """Minimum number of time bins of a batch: shorter batches are padded. Not with `pad_to`."""
    truncate_to: Size | None = None
    """Time bins after which samples are cut; at most the length of the longest sample to train on. By default samples are not cut."""
    residence: Residence = "auto"
    """Memory that holds the packed columns."""
    window: Annotated[Size, Field(ge=64)] | None = None
    """Samples among which a streamed set is shuffled; by default as many as fit into 256 MiB, at most 8192."""
    max_frame_bytes: Size | None = None
    """Bytes that the dense frames of a batch may take; by default 4 GiB, or half of the machine's memory if that is less."""

    def cut_of(self, longest: int) -> int | None:
        """Return `truncate_to` if it is below `longest`, the bins of the longest validation or test sample; else None."""
        return None if self.truncate_to is None or self.truncate_to >= longest else self.truncate_to

    def stored_split(self, split: str) -> str:
        """Return the split of the store that has the samples of `split`: the training split for ``shd-speaker``, else `split` itself."""
        return self.train if split == self.valid == SHD_SPEAKER else split

    def rows(self, split: str) -> str | None:
        """Return the argument `rows` of `FeatureLoader` for one of the two splits, `train` or `valid`: None for all rows, or the name of a part of a partition."""
        if self.valid != SHD_SPEAKER:
            return None
        return f"{SHD_SPEAKER}:{'valid' if split == self.valid else 'train'}"


class OptimiserConfig(Spec):
    """The table ``[optimiser]``: parameters of AdamW."""

    learning_rate: Annotated[Positive, AfterValidator(_in_range)] = 1e-3
    weight_decay: NotNegative = 0.01
    clip_norm: Positive | None = 1.0
    """Largest norm of the gradient of all parameters together; None for no clipping."""


class TrainConfig(Spec):
    """The configuration of a training run."""

    epochs: Size = 10
    seed: Count = 0
    """Seed of weights, order, and augmentations without a seed of their own."""
    precision: Precision = "float32"
    """Dtype in which linear layers and convolutions compute; parameters and membrane potentials are always float32."""
    cuda_graphs: CudaGraphs = "auto"
    """Whether steps on a GPU are replayed as CUDA graphs; by default if possible. If true and they can't be replayed, an error is raised
    before the first step."""
    checkpoint_batches: Size | None = None
    """Number of batches between checkpoints within an epoch; at the end of each epoch, a checkpoint is always written."""
    upstreams: Annotated[tuple[Location, ...], AsTuple] = ()
    """Stores to copy missing feature sets from; relative folders are relative to the folder of the configuration."""
    augment: AugmentationTables = ()
    """Augmentations of the split to train on, applied in this order, except that thinning comes first and ``blend`` second (`in_order`)."""
    data: DataConfig
    network: NetworkSpec = NetworkSpec()
    optimiser: OptimiserConfig = OptimiserConfig()


def load_config(path: Path | str) -> TrainConfig:
    """Return the configuration in a TOML file.

    Raises
    ------
    SourceNotFoundError
        The file does not exist or can't be read.
    SpecError
        The file is not TOML, or is not a valid configuration; the message lists every problem with the path of its field.
    """
    return model_in_toml(TrainConfig, path, "configuration")
