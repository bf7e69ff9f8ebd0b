"""The operations that a transform is made of, one module each."""

from typing import Annotated

from pydantic import Field

from spikestore.store_schemas.operations.clip_counts import ClipCounts
from spikestore.store_schemas.operations.crop_time import CropTime
from spikestore.store_schemas.operations.downsample import Downsample
from spikestore.store_schemas.operations.to_frame import SLICING_MODES, ToFrame

Operation = Annotated[Downsample | CropTime | ToFrame | ClipCounts, Field(discriminator="op")]
"""Any operation; the field ``op`` tells which."""

__all__ = ["SLICING_MODES", "ClipCounts", "CropTime", "Downsample", "Operation", "ToFrame"]
