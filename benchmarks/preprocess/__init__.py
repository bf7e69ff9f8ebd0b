"""Preprocessing against Tonic: ``python -m benchmarks.preprocess``."""
