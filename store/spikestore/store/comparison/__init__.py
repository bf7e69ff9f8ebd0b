"""Comparison of two feature sets: their specs, and the samples of the recordings that both sets have."""
