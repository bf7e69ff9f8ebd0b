"""Frames: builds the dense frames of batches with compiled loops."""
