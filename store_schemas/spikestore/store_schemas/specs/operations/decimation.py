"""Decimation: keep one of n events of each pixel."""

from __future__ import annotations

from typing import Literal

from spikestore.store_schemas.specs.model import Size, Spec


class Decimation(Spec):
    """Keep each `n`-th event of every pixel, as ``tonic.transforms.Decimation``; polarities are counted together."""

    op: Literal["decimation"] = "decimation"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    n: Size
    """The first ``n - 1`` events of a pixel are dropped, the next is kept, and so on; 1 keeps all."""
