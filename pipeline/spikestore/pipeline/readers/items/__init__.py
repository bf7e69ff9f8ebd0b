"""Readers of recordings that an object in Python gives, alone or beside recordings in files."""
