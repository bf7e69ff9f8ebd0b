"""Base class of all operations that make frames, except `ToFrame`."""

from __future__ import annotations

from typing import Annotated

from spikestore.store_schemas.specs.model import AsTuple, Size, Spec


class FrameBase(Spec):
    """Makes frames over (time bin, polarity, y, x), in bins that no parameter of `ToFrame` describes.

    The properties have the names of members of `ToFrame`, so that other code can treat all operations equally.
    `include_incomplete`, `start_time`, `end_time` and `overlap` are parameters only of `ToFrame`; in the other operations,
    these properties have the values that mean "no effect".
    """

    op: str
    sensor_size: Annotated[tuple[Size, Size, Size], AsTuple]
    """Size (x, y, p) of the sensor after the preceding operations."""

    @property
    def frame_size(self) -> tuple[int, int, int]:
        """Size (x, y, p) of a frame: the size of the sensor."""
        return self.sensor_size

    @property
    def mode(self) -> str:
        """Name of the way in which a recording is divided into bins: the name of the operation."""
        return self.op

    @property
    def include_incomplete(self) -> bool:
        """False, because this operation has no parameter that adds an incomplete bin at the end."""
        return False

    @property
    def start_time(self) -> float | None:
        """None: no parameter sets the start of the first bin."""
        return None

    @property
    def end_time(self) -> float | None:
        """None: no parameter sets the end of the last bin."""
        return None

    @property
    def overlap(self) -> float:
        """0: no parameter makes bins overlap."""
        return 0.0
