"""Readers of recordings that an object in Python returns, possibly together with recordings in files."""
