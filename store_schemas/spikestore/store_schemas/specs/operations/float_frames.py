"""Operations of Tonic whose frames are real numbers: ToVoxelGrid, ToTimesurface, ToAveragedTimesurface and ToBinaRep.

The frames are stored as float32, each value rounded once (docs/decisions/0074-float-frames-are-float32-columns.md). Events need a field ``y``.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spikestore.store_schemas.specs.model import Real, Size, Spec
from spikestore.store_schemas.specs.operations.frame_base import FrameBase

_Positive = Annotated[Real, Field(gt=0)]

FADED = 104.0
"""Number of time constants after which a time surface is 0 as float32: exp(-104) is less than half of the smallest float32."""


class ToVoxelGrid(FrameBase):
    """Sum the signs of events per (time bin, y, x), like ``tonic.transforms.ToVoxelGrid``.

    Polarity 0 has the sign -1. An event is divided between its bin and the next one: the later it is within its bin, the larger is the
    part in the next bin. In the last bin, this part is lost. Events at the time of the last event are in no bin. The frames have one
    polarity.
    """

    op: Literal["to_voxel_grid"] = "to_voxel_grid"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    n_time_bins: Size
    """Bins of equal duration in a recording."""

    @model_validator(mode="after")
    def _two_polarities(self) -> Self:
        if self.sensor_size[2] != 2:
            raise ValueError(f"sensor_size must have 2 polarities, as in Tonic, got {self.sensor_size[2]}")
        return self

    @property
    def frame_size(self) -> tuple[int, int, int]:
        """Size (x, y, p) of a frame."""
        return (*self.sensor_size[:2], 1)

    @property
    def bins(self) -> int | None:
        """Number of bins of every recording."""
        return self.n_time_bins

    @property
    def non_zeros_per_event(self) -> int:
        """Largest number of non-zeros that one event can cause."""
        return 2


class ToTimesurface(FrameBase):
    """Make a frame every `dt`; each value is exp(-age / tau) for the last event at its place, like ``tonic.transforms.ToTimesurface``.

    A place is a (polarity, y, x). Frame i belongs to the time (i + 1) · `dt` after the first event, and ages are measured at this
    time. An event counts in all later frames, until another event comes at the same place. Events after the last whole `dt` are
    in no frame. Times are truncated to whole µs before the age is computed.
    """

    op: Literal["to_timesurface"] = "to_timesurface"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    dt: _Positive
    """Time between two frames, in µs."""
    tau: _Positive
    """Time constant of the decay, in µs."""

    @property
    def bins(self) -> int | None:
        """Always None: the number of frames depends on the recording."""
        return None

    @property
    def non_zeros_per_event(self) -> int:
        """Largest number of non-zeros that one event can cause: the number of frames until its value has decayed to 0 in float32."""
        return int(min(FADED * self.tau / self.dt, 2.0**52)) + 2


class ToAveragedTimesurface(FrameBase):
    """Average the time surfaces around the events of each cell, like ``tonic.transforms.ToAveragedTimesurface``.

    The sensor is divided into squares of `cell_size`, row by row. A sample has a frame for each cell, so the axis of time counts
    cells. The frames have the axes (polarity, y, x) of the surface. Times are rounded to float32, as in Tonic.
    """

    op: Literal["to_averaged_timesurface"] = "to_averaged_timesurface"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    surface_size: Size = 5
    """Side of a time surface, in pixels; odd, and not above `cell_size`."""
    cell_size: Size = 10
    """Side of a cell, in pixels."""
    time_window: Annotated[Real, Field(ge=0)] = 1000.0
    """Largest age of the events that the surface of an event contains, in µs."""
    tau: _Positive = 100.0
    """Time constant of the decay, in µs."""
    decay: Literal["exp", "lin"] = "exp"
    """Decay of an event with its age: exp(-age / tau), or 1 - age / (3 tau)."""

    @model_validator(mode="after")
    def _odd_surface_in_a_cell(self) -> Self:
        if self.surface_size % 2 == 0 or self.surface_size > self.cell_size:
            raise ValueError(
                f"surface_size must be odd and at most cell_size ({self.cell_size}), got {self.surface_size}"
            )
        return self

    @property
    def frame_size(self) -> tuple[int, int, int]:
        """Size (x, y, p) of a frame, which is a time surface."""
        return (self.surface_size, self.surface_size, self.sensor_size[2])

    @property
    def cells(self) -> tuple[int, int]:
        """Number of cells along x and y."""
        x, y, _ = self.sensor_size
        return -(-x // self.cell_size), -(-y // self.cell_size)

    @property
    def bins(self) -> int | None:
        """Number of frames of every recording: one for each cell (square of `cell_size` pixels)."""
        return math.prod(self.cells)

    @property
    def non_zeros_per_event(self) -> int:
        """Largest number of non-zeros that one event can cause."""
        return self.surface_size**2


class ToBinaRep(Spec):
    """Combine `n_bits` binary frames into one frame of numbers from 0 to 1, like ``tonic.transforms.ToBinaRep``.

    The binary frames are the bits of a whole number, and the first frame is the highest bit. This number is divided by
    2^`n_bits` - 1, the largest number of `n_bits` bits.
    """

    op: Literal["to_bina_rep"] = "to_bina_rep"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    n_frames: Size = 1
    """Frames of a sample."""
    n_bits: Annotated[int, Field(ge=2, le=24)] = 8
    """Bits of a number; each is one frame of ``to_frame``. A float32 holds at most 24 bits."""


FloatFrames = ToVoxelGrid | ToTimesurface | ToAveragedTimesurface
"""An operation from events to frames of real numbers."""
