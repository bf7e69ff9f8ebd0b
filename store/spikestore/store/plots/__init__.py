"""Plots of frames on matplotlib axes, for notebooks; matplotlib is imported when a plot is made."""
