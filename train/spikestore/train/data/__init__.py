"""Turns feature sets into batches."""
