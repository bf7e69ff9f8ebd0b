"""Distributions of a feature set, and their display in a line of text, for ``spikestore show``."""
