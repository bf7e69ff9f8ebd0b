"""Batches that are read while a network trains."""
