"""Hypothesis strategies for tests of operations, readers and stores, including your own; only tests import this package."""
