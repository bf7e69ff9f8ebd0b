"""Hypothesis strategies to test operations, readers and stores, also those of other packages; only tests import this package."""
