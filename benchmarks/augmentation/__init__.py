"""The loader with augmentations against the same loader without any: ``python -m benchmarks.augmentation``."""
