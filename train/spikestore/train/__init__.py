"""Train from a store: batches from feature sets, networks, a training loop. Imports neither Dask nor Tonic."""

from typing import TYPE_CHECKING

from spikestore.store_schemas.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from spikestore.train.augmentation import ChannelJitter, EventDrop, SpatialFlip, TimeShift
    from spikestore.train.batch import Batch, SparseBatch
    from spikestore.train.dataset import FeatureDataset
    from spikestore.train.loader import FeatureLoader
    from spikestore.train.networks import ConvolutionSpec, NetworkSpec, build_network, forget_states
    from spikestore.train.neurons import IAF
    from spikestore.train.order import epoch_order
    from spikestore.train.packed import PackedColumns, pack
    from spikestore.train.steps import training_step
    from spikestore.train.subsets import hold_out, keep_partition, partition_rows, rows_where

__all__ = [
    "IAF",
    "Batch",
    "ChannelJitter",
    "ConvolutionSpec",
    "EventDrop",
    "FeatureDataset",
    "FeatureLoader",
    "NetworkSpec",
    "PackedColumns",
    "SparseBatch",
    "SpatialFlip",
    "TimeShift",
    "build_network",
    "epoch_order",
    "forget_states",
    "hold_out",
    "keep_partition",
    "pack",
    "partition_rows",
    "rows_where",
    "training_step",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "IAF": "neurons",
        "Batch": "batch",
        "ConvolutionSpec": "networks",
        "FeatureDataset": "dataset",
        "FeatureLoader": "loader",
        "NetworkSpec": "networks",
        "PackedColumns": "packed",
        "SparseBatch": "batch",
        "ChannelJitter": "augmentation",
        "EventDrop": "augmentation",
        "SpatialFlip": "augmentation",
        "TimeShift": "augmentation",
        "build_network": "networks",
        "epoch_order": "order",
        "forget_states": "networks",
        "hold_out": "subsets",
        "keep_partition": "subsets",
        "partition_rows": "subsets",
        "pack": "packed",
        "rows_where": "subsets",
        "training_step": "steps",
    },
)
