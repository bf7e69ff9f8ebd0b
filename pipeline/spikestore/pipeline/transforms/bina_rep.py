"""ToBinaRep: consecutive binary frames become one frame. At each place, their values (0 or 1) are the binary digits of one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.transforms.fused.samples import BlockChain, FusedSamples
from spikestore.store_schemas.specs.operations import ToBinaRep


class BinaRepChain:
    """Computes frames of real numbers from 0 to 1: consecutive binary frames are read as the digits of one number.

    Parameters
    ----------
    counts : BlockChain
        The transform up to ``to_frame``.
    spec : ToBinaRep
        The operation.
    site_count : int
        Number of sites of a frame.
    """

    def __init__(self, counts: BlockChain, spec: ToBinaRep, site_count: int) -> None:
        self._counts = counts
        self._spec = spec
        self._site_count = site_count

    def __call__(
        self, block: EventBlock, *, name_of: Callable[[int], str], sort: bool = False
    ) -> FusedSamples:
        """Return the samples of a block; the result's ``errors`` maps the row of a recording to its error."""
        counts = self._counts(block, name_of=name_of, sort=sort)
        places = self._spec.n_frames * self._site_count
        row = np.repeat(np.arange(len(counts.nnz)), counts.nnz)
        time_bin, site = np.divmod(counts.index.astype(np.int64), self._site_count)
        frame, bit = np.divmod(time_bin, self._spec.n_bits)
        cells, place = np.unique(row * places + frame * self._site_count + site, return_inverse=True)
        number = np.bincount(place, 2.0 ** (self._spec.n_bits - 1 - bit), len(cells))  # each bit occurs once
        row, index = np.divmod(cells, places)
        return replace(
            counts,
            index=index,
            value=number.astype(np.float32) / np.float32(2**self._spec.n_bits - 1),
            nnz=np.bincount(row, minlength=len(counts.nnz)).astype(np.int64, copy=False),
            n_bins=np.where(counts.n_bins > 0, self._spec.n_frames, 0),
        )
