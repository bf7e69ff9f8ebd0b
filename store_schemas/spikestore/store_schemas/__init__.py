"""Schemas of a store: specs, keys and documents.

This package depends only on pydantic, numpy and rfc8785, never on storage. Each of its classes and functions is imported when it is
first used.
"""

from spikestore.store_schemas.lazy_exports import lazy_exports

# True for type checkers. Importing `typing` would take most of the time before Ctrl-C is handled.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from spikestore.store_schemas.documents.address import Address
    from spikestore.store_schemas.documents.manifest import Manifest
    from spikestore.store_schemas.documents.plan import Plan, make_plan
    from spikestore.store_schemas.documents.record import Record
    from spikestore.store_schemas.documents.ref import Pin, Ref
    from spikestore.store_schemas.errors import SpikestoreError
    from spikestore.store_schemas.layout import Layout, layout_of
    from spikestore.store_schemas.specs.files import SourceFile
    from spikestore.store_schemas.specs.operations import (
        CenterCrop,
        ClipCounts,
        CropTime,
        Decimation,
        Denoise,
        Downsample,
        DropPixel,
        EventDownsampling,
        FixedDuration,
        FixedFramesNumber,
        MergePolarities,
        Operation,
        OwnOperation,
        RefractoryPeriod,
        TimeAlignment,
        TimeSkew,
        ToAveragedTimesurface,
        ToBinaRep,
        ToFrame,
        ToTimesurface,
        ToVoxelGrid,
    )
    from spikestore.store_schemas.specs.source import Source
    from spikestore.store_schemas.specs.transform import Transform

__all__ = [
    "Address",
    "CenterCrop",
    "ClipCounts",
    "CropTime",
    "Decimation",
    "Denoise",
    "Downsample",
    "DropPixel",
    "EventDownsampling",
    "FixedDuration",
    "FixedFramesNumber",
    "Layout",
    "Manifest",
    "MergePolarities",
    "Operation",
    "OwnOperation",
    "Pin",
    "Plan",
    "Record",
    "Ref",
    "RefractoryPeriod",
    "Source",
    "SourceFile",
    "SpikestoreError",
    "TimeAlignment",
    "TimeSkew",
    "ToAveragedTimesurface",
    "ToBinaRep",
    "ToFrame",
    "ToTimesurface",
    "ToVoxelGrid",
    "Transform",
    "layout_of",
    "make_plan",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Address": "documents.address",
        "CenterCrop": "specs.operations",
        "ClipCounts": "specs.operations",
        "CropTime": "specs.operations",
        "Decimation": "specs.operations",
        "Denoise": "specs.operations",
        "Downsample": "specs.operations",
        "DropPixel": "specs.operations",
        "EventDownsampling": "specs.operations",
        "FixedDuration": "specs.operations",
        "FixedFramesNumber": "specs.operations",
        "Layout": "layout",
        "Manifest": "documents.manifest",
        "MergePolarities": "specs.operations",
        "Operation": "specs.operations",
        "OwnOperation": "specs.operations",
        "Pin": "documents.ref",
        "Plan": "documents.plan",
        "Record": "documents.record",
        "Ref": "documents.ref",
        "RefractoryPeriod": "specs.operations",
        "Source": "specs.source",
        "SourceFile": "specs.files",
        "SpikestoreError": "errors",
        "TimeAlignment": "specs.operations",
        "TimeSkew": "specs.operations",
        "ToAveragedTimesurface": "specs.operations",
        "ToBinaRep": "specs.operations",
        "ToFrame": "specs.operations",
        "ToTimesurface": "specs.operations",
        "ToVoxelGrid": "specs.operations",
        "Transform": "specs.transform",
        "layout_of": "layout",
        "make_plan": "documents.plan",
    },
)
