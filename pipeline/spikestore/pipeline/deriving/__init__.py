"""Coarse feature sets that are computed from the rows of a finer set, without reading recordings."""
