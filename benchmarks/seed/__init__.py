"""The seed's experiment, whole: ``python -m benchmarks.seed``."""
