"""Sets whose time bins and channels are summed while they are loaded."""
