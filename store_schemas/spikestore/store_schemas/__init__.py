"""What a store is: specs and keys, columns and checks, and the one way to open, read, build and commit.

Imports neither Dask, Tonic nor torch; and nothing at all before it is used.
"""

from typing import TYPE_CHECKING

from spikestore.store_schemas.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from spikestore.store_schemas.build import Build
    from spikestore.store_schemas.columns import Layout, SampleColumns, layout_of
    from spikestore.store_schemas.errors import SpikestoreError
    from spikestore.store_schemas.feature_set import Address, FeatureSet
    from spikestore.store_schemas.manifest import Manifest
    from spikestore.store_schemas.operations import ClipCounts, CropTime, Downsample, Operation, ToFrame
    from spikestore.store_schemas.plan import Plan, make_plan
    from spikestore.store_schemas.recipe import Recipe, load_recipe
    from spikestore.store_schemas.record import Record
    from spikestore.store_schemas.ref import Pin, Ref
    from spikestore.store_schemas.source import Source, SourceFile
    from spikestore.store_schemas.store import Store
    from spikestore.store_schemas.transform import Transform
    from spikestore.store_schemas.verification import Damage, verify

__all__ = [
    "Address",
    "Build",
    "ClipCounts",
    "CropTime",
    "Damage",
    "Downsample",
    "FeatureSet",
    "Layout",
    "Manifest",
    "Operation",
    "Pin",
    "Plan",
    "Recipe",
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
    "load_recipe",
    "make_plan",
    "verify",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Address": "feature_set",
        "Build": "build",
        "ClipCounts": "operations",
        "CropTime": "operations",
        "Damage": "verification",
        "Downsample": "operations",
        "FeatureSet": "feature_set",
        "Layout": "columns",
        "Manifest": "manifest",
        "Operation": "operations",
        "Pin": "ref",
        "Plan": "plan",
        "Recipe": "recipe",
        "Record": "record",
        "Ref": "ref",
        "SampleColumns": "columns",
        "Source": "source",
        "SourceFile": "source",
        "SpikestoreError": "errors",
        "Store": "store",
        "ToFrame": "operations",
        "Transform": "transform",
        "layout_of": "columns",
        "load_recipe": "recipe",
        "make_plan": "plan",
        "verify": "verification",
    },
)
