"""Fused execution: from columns of raw events to the non-zeros of their frames in one compiled pass."""

from spikestore.pipeline.fused.chain import FusedChain, can_run
from spikestore.pipeline.fused.samples import FusedSamples

__all__ = ["FusedChain", "FusedSamples", "can_run"]
