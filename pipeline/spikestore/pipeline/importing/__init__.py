"""Imports of frames that other programs computed: the caches of Tonic's ``DiskCachedDataset``."""
