"""Transforms: compute samples from recordings."""
