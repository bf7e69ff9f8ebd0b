"""Sums of neighbouring time bins and channels: rows of a fine feature set become rows of a coarse set."""
