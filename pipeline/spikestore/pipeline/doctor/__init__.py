"""Checks of ``spikestore doctor`` that need the pipeline."""
