"""Fused execution: from columns of raw events to the non-zeros of their frames in one compiled pass."""

from spikestore.pipeline.transforms.fused.chain import FusedChain, can_run
from spikestore.pipeline.transforms.fused.samples import FusedSamples

__all__ = ["FusedChain", "FusedSamples", "can_run"]
