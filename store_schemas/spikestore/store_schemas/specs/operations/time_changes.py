"""Operations that change the times of all events: TimeAlignment and TimeSkew."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spikestore.store_schemas.specs.model import Real, Spec


class TimeAlignment(Spec):
    """Subtract the time of the first event from all times of a recording, like ``tonic.transforms.TimeAlignment``."""

    op: Literal["time_alignment"] = "time_alignment"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""


class TimeSkew(Spec):
    """Multiply times by `coefficient` and add `offset`, like ``tonic.transforms.TimeSkew``; if the times are integers, the results are truncated.

    In Tonic, a pair as a parameter is a range for random values; this operation rejects pairs. It also rejects a coefficient of 0 or less: a
    negative coefficient would reverse the order of the events, and 0 would give all events the same time.
    """

    op: Literal["time_skew"] = "time_skew"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    coefficient: Annotated[Real, Field(gt=0)]
    """Factor for times."""
    offset: Real = 0.0
    """Added after the multiplication, in µs."""
