"""The operations of a transform, one module each."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from spikestore.store_schemas.specs.operations.clip_counts import ClipCounts
from spikestore.store_schemas.specs.operations.crop_time import CropTime
from spikestore.store_schemas.specs.operations.downsample import Downsample
from spikestore.store_schemas.specs.operations.to_frame import SLICING_MODES, ToFrame
from spikestore.store_schemas.specs.operations.without_spec import not_of_tonic

Operation = Annotated[
    Downsample | CropTime | ToFrame | ClipCounts, Field(discriminator="op"), BeforeValidator(not_of_tonic)
]
"""Any operation; the field ``op`` selects the class."""

__all__ = ["SLICING_MODES", "ClipCounts", "CropTime", "Downsample", "Operation", "ToFrame"]
