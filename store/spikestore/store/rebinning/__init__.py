"""Sums of neighbouring time bins and channels: rows of a fine feature set become those of a coarse one."""
