"""Fused execution: one compiled pass computes the non-zeros of frames from columns of raw events."""

from spikestore.pipeline.transforms.fused.chain import FusedChain, can_run
from spikestore.pipeline.transforms.fused.samples import FusedSamples

__all__ = ["FusedChain", "FusedSamples", "can_run"]
