"""Benchmarks of data sets: other layouts, folders of recordings, sets that grow."""
