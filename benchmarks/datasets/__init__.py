"""Benchmarks of getting recordings in: data sets of other layouts, folders of recordings, sets that grow."""
