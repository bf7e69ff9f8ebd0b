"""CenterCrop: keep the events of the centre of the sensor."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from spikestore.store_schemas.specs.model import AsTuple, PlaneSize, Size, Spec


def _square(size: Any) -> Any:
    return (size, size) if type(size) is int else size


class CenterCrop(Spec):
    """Keep the events of the centre of the sensor and move their coordinates, like ``tonic.transforms.CenterCrop``.

    Events need a field ``y``. If `size` exceeds `sensor_size`, the coordinates are moved so that the old sensor is in the
    centre of the new sensor.
    """

    op: Literal["center_crop"] = "center_crop"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    sensor_size: PlaneSize
    """Size (x, y) before the crop; a third size, as in Tonic, has no effect and is not stored."""
    size: Annotated[tuple[Size, Size], BeforeValidator(_square), AsTuple]
    """Size (x, y) after the crop; a single number applies to both."""

    @property
    def offset(self) -> tuple[int, int]:
        """Pixels that are subtracted from x and y; negative if the new sensor is larger."""
        return (self.sensor_size[0] - self.size[0]) // 2, (self.sensor_size[1] - self.size[1]) // 2
