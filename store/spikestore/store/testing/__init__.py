"""Hypothesis strategies for tests of operations, readers and stores, also of your own; only tests import this package."""
