"""The loader with augmentations, compared with the same loader without them: ``python -m benchmarks.augmentation``."""
