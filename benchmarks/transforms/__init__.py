"""Transforms: ``python -m benchmarks.transforms``, one module for each group of rows."""
