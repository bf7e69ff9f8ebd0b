"""The operations of a transform."""

from typing import Annotated, get_args

from pydantic import BeforeValidator, Field

from spikestore.store_schemas.specs.operations.center_crop import CenterCrop
from spikestore.store_schemas.specs.operations.clip_counts import ClipCounts
from spikestore.store_schemas.specs.operations.crop_time import CropTime
from spikestore.store_schemas.specs.operations.downsample import Downsample
from spikestore.store_schemas.specs.operations.event_downsampling import EventDownsampling
from spikestore.store_schemas.specs.operations.float_frames import (
    FloatFrames,
    ToAveragedTimesurface,
    ToBinaRep,
    ToTimesurface,
    ToVoxelGrid,
)
from spikestore.store_schemas.specs.operations.merge_polarities import MergePolarities
from spikestore.store_schemas.specs.operations.own_operation import OwnOperation
from spikestore.store_schemas.specs.operations.pixel_filters import (
    Decimation,
    Denoise,
    DropPixel,
    RefractoryPeriod,
)
from spikestore.store_schemas.specs.operations.spikingjelly_frames import FixedDuration, FixedFramesNumber
from spikestore.store_schemas.specs.operations.time_changes import TimeAlignment, TimeSkew
from spikestore.store_schemas.specs.operations.to_frame import SLICING_MODES, ToFrame
from spikestore.store_schemas.specs.operations.without_spec import not_of_tonic

PixelFilter = Decimation | Denoise | DropPixel | RefractoryPeriod
"""An operation that drops events by their pixels."""

EventOperation = (
    Downsample
    | CropTime
    | PixelFilter
    | MergePolarities
    | CenterCrop
    | EventDownsampling
    | OwnOperation
    | TimeAlignment
    | TimeSkew
)
"""An operation from events to events."""

FrameOperation = ToFrame | FixedDuration | FixedFramesNumber | FloatFrames
"""An operation from events to frames."""

AfterFrames = ClipCounts | ToBinaRep
"""An operation from frames of counts to frames."""

Operation = Annotated[
    EventOperation | FrameOperation | AfterFrames, Field(discriminator="op"), BeforeValidator(not_of_tonic)
]
"""Any operation; the field ``op`` selects the class."""

OPERATIONS = frozenset(
    model.model_fields["op"].default for model in get_args(EventOperation | FrameOperation | AfterFrames)
)
"""Names of all operations, the values of ``op``."""

__all__ = [
    "OPERATIONS", "SLICING_MODES", "AfterFrames", "CenterCrop", "ClipCounts", "CropTime", "Decimation", "Denoise", "Downsample", "DropPixel",
    "EventDownsampling", "EventOperation", "FixedDuration", "FixedFramesNumber", "FloatFrames", "FrameOperation",
    "MergePolarities", "Operation", "OwnOperation", "PixelFilter", "RefractoryPeriod",
    "TimeAlignment", "TimeSkew", "ToAveragedTimesurface", "ToBinaRep", "ToFrame", "ToTimesurface", "ToVoxelGrid",
]  # fmt: skip
