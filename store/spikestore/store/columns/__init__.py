"""Columns of a fragment: samples in memory, encoded objects in a store, and their hashes."""
