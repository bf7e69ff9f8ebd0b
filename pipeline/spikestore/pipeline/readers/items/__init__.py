"""Readers of recordings that an object in Python returns. In one set, some recordings may be from such an object, and others from files."""
