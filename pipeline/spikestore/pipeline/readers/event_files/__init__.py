"""Data sets with one file per recording; each has a module."""
