"""Readers of recordings that an object in Python returns. A set may have such recordings, and recordings in files too."""
