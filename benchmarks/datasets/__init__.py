"""Benchmarks of data sets: layouts of cameras, folders of recordings, sets that grow."""
