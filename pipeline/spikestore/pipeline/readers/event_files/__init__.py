"""Data sets with one file per recording; each data set has a module."""
