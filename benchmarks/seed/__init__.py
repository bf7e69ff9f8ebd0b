"""The complete experiment of the seed: ``python -m benchmarks.seed``."""
