"""Augmentation against the same loader without: ``python -m benchmarks.augmentation``."""
