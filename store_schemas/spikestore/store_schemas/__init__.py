"""What a store is: specs and keys, columns and checks, and the one way to open, read, build and commit.

Imports neither Dask, Tonic nor torch.
"""

from spikestore.store_schemas.build import Build
from spikestore.store_schemas.columns import Layout, SampleColumns, layout_of
from spikestore.store_schemas.errors import SpikestoreError
from spikestore.store_schemas.feature_set import Address, FeatureSet
from spikestore.store_schemas.manifest import Manifest
from spikestore.store_schemas.operations import CropTime, Downsample, Operation, ToFrame
from spikestore.store_schemas.plan import Plan, make_plan
from spikestore.store_schemas.record import Record
from spikestore.store_schemas.ref import Pin, Ref
from spikestore.store_schemas.source import Source, SourceFile
from spikestore.store_schemas.store import Store
from spikestore.store_schemas.transform import Transform
from spikestore.store_schemas.verify import Damage, verify

__all__ = [
    "Address",
    "Build",
    "CropTime",
    "Damage",
    "Downsample",
    "FeatureSet",
    "Layout",
    "Manifest",
    "Operation",
    "Pin",
    "Plan",
    "Record",
    "Ref",
    "SampleColumns",
    "Source",
    "SourceFile",
    "SpikestoreError",
    "Store",
    "ToFrame",
    "Transform",
    "layout_of",
    "make_plan",
    "verify",
]
