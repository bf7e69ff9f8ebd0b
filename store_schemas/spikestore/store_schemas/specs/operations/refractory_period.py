"""RefractoryPeriod: drop events that follow another event of their pixel too soon."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spikestore.store_schemas.specs.model import Real, Spec


class RefractoryPeriod(Spec):
    """Drop events that follow another event of their pixel within `delta`, as ``tonic.transforms.RefractoryPeriod``.

    Events need a field ``y``. As in Tonic, a dropped event also starts a new period, and the first event of a pixel is
    dropped if its time is 0 or negative. A pair as Tonic's ``delta`` means *random* and is rejected.
    """

    op: Literal["refractory_period"] = "refractory_period"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    delta: Annotated[Real, Field(ge=0)]
    """An event is kept if the previous one of its pixel was more than this long ago, in µs."""
