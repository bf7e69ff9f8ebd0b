"""Training from a store: batches of samples, networks, and a training loop. Imports neither Dask nor Tonic."""

from typing import TYPE_CHECKING

from spikestore.store_schemas.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from spikestore.train.data.augmentation.additions import Blend, CutMix, EventMix, UniformNoise
    from spikestore.train.data.augmentation.choice import OneOf
    from spikestore.train.data.augmentation.moves import (
        ChannelJitter,
        ChannelShift,
        PolarityFlip,
        Roll,
        Rotate,
        Shear,
        SpatialFlip,
        TimeReversal,
        TimeShift,
        TimeStretch,
        Translate,
    )
    from spikestore.train.data.augmentation.removals import (
        AreaMask,
        ChannelMask,
        EventDrop,
        EventThinning,
        TimeMask,
    )
    from spikestore.train.data.augmentation.tables import preset
    from spikestore.train.data.batch import Batch, SparseBatch
    from spikestore.train.data.dataset import FeatureDataset
    from spikestore.train.data.epoch_order import epoch_order
    from spikestore.train.data.loader import FeatureLoader
    from spikestore.train.data.packed import PackedColumns, pack
    from spikestore.train.data.subsets import hold_out, keep_partition, partition_rows, rows_where
    from spikestore.train.models.networks import ConvolutionSpec, NetworkSpec, build_network, forget_states
    from spikestore.train.models.nir_graph import to_nir
    from spikestore.train.neurons import IAF
    from spikestore.train.runs.graphs import TrainingStep
    from spikestore.train.runs.step import training_step
    from spikestore.train.runs.trained import TrainedNetwork, load_network

__all__ = [
    "IAF",
    "AreaMask",
    "Batch",
    "Blend",
    "ChannelJitter",
    "ChannelMask",
    "ChannelShift",
    "ConvolutionSpec",
    "CutMix",
    "EventDrop",
    "EventMix",
    "EventThinning",
    "FeatureDataset",
    "FeatureLoader",
    "NetworkSpec",
    "OneOf",
    "PackedColumns",
    "PolarityFlip",
    "Roll",
    "Rotate",
    "Shear",
    "SparseBatch",
    "SpatialFlip",
    "TimeMask",
    "TimeReversal",
    "TimeShift",
    "TimeStretch",
    "TrainedNetwork",
    "TrainingStep",
    "Translate",
    "UniformNoise",
    "build_network",
    "epoch_order",
    "forget_states",
    "hold_out",
    "keep_partition",
    "load_network",
    "pack",
    "partition_rows",
    "preset",
    "rows_where",
    "to_nir",
    "training_step",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "IAF": "neurons",
        "Batch": "data.batch",
        "ConvolutionSpec": "models.networks",
        "FeatureDataset": "data.dataset",
        "FeatureLoader": "data.loader",
        "NetworkSpec": "models.networks",
        "PackedColumns": "data.packed",
        "SparseBatch": "data.batch",
        "ChannelJitter": "data.augmentation.moves",
        "ChannelMask": "data.augmentation.removals",
        "ChannelShift": "data.augmentation.moves",
        "EventThinning": "data.augmentation.removals",
        "PolarityFlip": "data.augmentation.moves",
        "TimeMask": "data.augmentation.removals",
        "TimeReversal": "data.augmentation.moves",
        "EventDrop": "data.augmentation.removals",
        "SpatialFlip": "data.augmentation.moves",
        "TimeShift": "data.augmentation.moves",
        "Blend": "data.augmentation.additions",
        "CutMix": "data.augmentation.additions",
        "EventMix": "data.augmentation.additions",
        "UniformNoise": "data.augmentation.additions",
        "Rotate": "data.augmentation.moves",
        "TimeStretch": "data.augmentation.moves",
        "Translate": "data.augmentation.moves",
        "Roll": "data.augmentation.moves",
        "Shear": "data.augmentation.moves",
        "AreaMask": "data.augmentation.removals",
        "OneOf": "data.augmentation.choice",
        "TrainingStep": "runs.graphs",
        "build_network": "models.networks",
        "epoch_order": "data.epoch_order",
        "forget_states": "models.networks",
        "hold_out": "data.subsets",
        "keep_partition": "data.subsets",
        "partition_rows": "data.subsets",
        "preset": "data.augmentation.tables",
        "pack": "data.packed",
        "rows_where": "data.subsets",
        "to_nir": "models.nir_graph",
        "training_step": "runs.step",
        "TrainedNetwork": "runs.trained",
        "load_network": "runs.trained",
    },
)
