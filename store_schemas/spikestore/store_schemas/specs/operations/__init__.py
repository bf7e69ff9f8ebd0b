"""The operations of a transform, one module each."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from spikestore.store_schemas.specs.operations.clip_counts import ClipCounts
from spikestore.store_schemas.specs.operations.crop_time import CropTime
from spikestore.store_schemas.specs.operations.decimation import Decimation
from spikestore.store_schemas.specs.operations.denoise import Denoise
from spikestore.store_schemas.specs.operations.downsample import Downsample
from spikestore.store_schemas.specs.operations.drop_pixel import DropPixel
from spikestore.store_schemas.specs.operations.merge_polarities import MergePolarities
from spikestore.store_schemas.specs.operations.refractory_period import RefractoryPeriod
from spikestore.store_schemas.specs.operations.to_frame import SLICING_MODES, ToFrame
from spikestore.store_schemas.specs.operations.without_spec import not_of_tonic

PixelFilter = Decimation | Denoise | DropPixel | RefractoryPeriod
"""An operation that drops events by their pixels."""

EventOperation = Downsample | CropTime | PixelFilter | MergePolarities
"""An operation from events to events."""

Operation = Annotated[
    EventOperation | ToFrame | ClipCounts, Field(discriminator="op"), BeforeValidator(not_of_tonic)
]
"""Any operation; the field ``op`` selects the class."""

__all__ = [
    "SLICING_MODES", "ClipCounts", "CropTime", "Decimation", "Denoise", "Downsample", "DropPixel", "EventOperation",
    "MergePolarities", "Operation", "PixelFilter", "RefractoryPeriod", "ToFrame",
]  # fmt: skip
