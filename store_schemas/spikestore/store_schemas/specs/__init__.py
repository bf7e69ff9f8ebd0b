"""Specs that are hashed into keys: sources and transforms."""
