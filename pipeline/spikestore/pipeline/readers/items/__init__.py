"""Readers of the recordings of a data set object. In one set, some recordings may be from such an object, and others from files."""
