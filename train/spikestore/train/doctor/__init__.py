"""Checks of ``spikestore doctor`` that need torch."""
