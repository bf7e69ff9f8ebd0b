"""Columns of a fragment: samples in memory, bytes in a store, and what binds the two."""
